# What CI runs, and what people run by hand. Everything works from a fresh clone.

CARGO ?= cargo
SECONDS_OF_FUZZING ?= 60
HOST = $(shell rustc -vV | sed -n 's/^host: //p')

.PHONY: test bench-smoke lint release bench bench-peers fuzz image docker

# The tests need a few programs; as root on Debian they are installed.
test:
	tests/need.sh
	$(CARGO) test --locked
	$(MAKE) bench-smoke

# That each bench works, never how fast.
bench-smoke:
	$(CARGO) test --locked --bench decide --bench dns --bench host --bench load --bench record --bench relay --bench sniff
	python3 benches/peers/run.py --smoke
	benches/peers/train.py --seconds 0.2

# The targets for fuzzing are compiled only: nothing is linked, so libFuzzer, which is C++, is not built. What clippy has
# compiled is not compiled again where it is the same.
lint:
	$(CARGO) fmt --check
	$(CARGO) fmt --check --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	CUSTOM_LIBFUZZER_PATH=/dev/null CARGO_TARGET_DIR=$${CARGO_TARGET_DIR:-target} \
		$(CARGO) check --locked --manifest-path fuzz/Cargo.toml
	tests/deny.sh

# The program as it is measured: built twice, the second time for the work that the first one was seen to do (profile-guided
# optimisation). Needs cargo-pgo (cargo install cargo-pgo) and llvm-profdata (rustup component add llvm-tools).
release:
	$(CARGO) pgo build -- --locked --bin exeat
	benches/peers/train.py target/$(HOST)/release/exeat
	$(CARGO) pgo optimize build -- --locked --bin exeat
	@ls -l target/$(HOST)/release/exeat

# The parts.
bench:
	$(CARGO) bench --locked --bench decide --bench dns --bench host --bench record --bench relay --bench sniff

# The whole, beside other proxies: apt-get install squid tinyproxy haproxy nginx libnginx-mod-stream valgrind.
# PARTS and FLAGS choose: make bench-peers PARTS=compare FLAGS='--loads tunnels --peer g3proxy=/usr/bin/g3proxy'
bench-peers:
	python3 benches/peers/run.py $(PARTS) $(FLAGS)

# Needs cargo-fuzz and a nightly toolchain; see fuzz/README.md.
fuzz:
	for target in $$($(CARGO) +nightly fuzz list); do \
		mkdir -p fuzz/corpus/$$target && \
		$(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(SECONDS_OF_FUZZING) -max_len=4096 || exit 1; \
	done

# What the image holds, built and tried without Docker: one static binary in an empty root.
image:
	$(CARGO) build --locked --release --config deploy/static.toml --target-dir target/static \
		--target $(HOST)
	tests/image.sh target/static/$(HOST)/release/exeat

docker:
	docker build --tag exeat .
