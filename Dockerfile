# syntax=docker/dockerfile:1

FROM rust:1.95-bookworm AS build
WORKDIR /exeat
COPY . .
# For the host by name, or the flag for a static binary would also meet the build scripts and macros.
RUN host="$(rustc -vV | sed -n 's/^host: //p')" \
    && cargo build --locked --release --config deploy/static.toml --target "$host" \
    && mv "target/$host/release/exeat" /exeat/exeat

# One file: no shell, no library, nothing to write to. Runs with a read-only root.
FROM scratch
COPY --from=build /exeat/exeat /exeat
USER 65532:65532
EXPOSE 3128 3130
# No program is here that could ask; the platform does: GET /healthz and /readyz on port 3130.
HEALTHCHECK NONE
STOPSIGNAL SIGTERM
ENTRYPOINT ["/exeat"]
CMD ["serve", "--listen", "0.0.0.0:3128", "--admin", "0.0.0.0:3130"]
