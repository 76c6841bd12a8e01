# What CI runs, and what people run by hand. Everything works from a fresh clone.

CARGO ?= cargo
SECONDS_OF_FUZZING ?= 60

.PHONY: test lint bench fuzz image docker

# The tests need a few programs; as root on Debian they are installed.
test:
	tests/need.sh
	$(CARGO) test --locked

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	tests/deny.sh

# The parts; docs/performance.md measures the whole.
bench:
	$(CARGO) bench --locked --bench decide --bench record --bench relay --bench sniff

# Needs cargo-fuzz and a nightly toolchain; see fuzz/README.md.
fuzz:
	for target in $$($(CARGO) +nightly fuzz list); do \
		mkdir -p fuzz/corpus/$$target && \
		$(CARGO) +nightly fuzz run $$target fuzz/corpus/$$target fixtures/hello -- \
			-max_total_time=$(SECONDS_OF_FUZZING) -max_len=4096 || exit 1; \
	done

# What the image holds, built and tried without Docker: one static binary in an empty root.
image:
	$(CARGO) build --locked --release --config deploy/static.toml --target-dir target/static \
		--target $$(rustc -vV | sed -n 's/^host: //p')
	tests/image.sh target/static/$$(rustc -vV | sed -n 's/^host: //p')/release/exeat

docker:
	docker build --tag exeat .
