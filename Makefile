# Everything a newcomer needs: `make up`, then `make demo`; `make test` for the whole test suite.
PRESET ?= release
JOBS ?= $(shell nproc)
export CMAKE_C_COMPILER_LAUNCHER := $(shell command -v ccache 2>/dev/null)

.PHONY: help up down demo test build contracts install bench format lint docs clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile | expand -t 20

up: install ## install what is missing, build, and start the whole stack on the loopback
	@$(MAKE) --no-print-directory build contracts
	@node tools/up.mjs

down: ## stop what `make up` started; state stays under .octroi/
	@node tools/down.mjs

demo: ## buy a subscription and use it, printing each step
	@node tools/demo.mjs

build: ## build the binaries of PRESET into build/PRESET/bin
	@cmake --preset $(PRESET) >build.log 2>&1 || { cat build.log; exit 1; }; rm -f build.log
	@ninja -C build/$(PRESET) -j $(JOBS) $(TARGETS) | { grep -v -e '^ninja: Entering' -e 'no work to do' -e '^\[' || true; }

contracts: ## compile the contracts where their sources are newer
	@npm run --silent contracts:build

install:
	@tools/install.sh

test: ## set up and run every test
	@tools/install.sh tools/packages.txt tools/packages-test.txt
	@tools/test.sh

bench: ## compare with nginx and HAProxy on this machine
	@tools/install.sh tools/packages.txt tools/packages-bench.txt
	@$(MAKE) --no-print-directory build TARGETS="all bench_load bench_origin"
	@node bench/run.mjs
	@$(MAKE) --no-print-directory contracts
	@node bench/paid.mjs
	@node bench/quotes.mjs
	@node bench/activation.mjs
	@node bench/outage.mjs
	@node bench/hostile.mjs

format: ## format the C sources
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

lint: ## clang-format, clang-tidy, and a build with clang
	@tools/lint.sh

docs: build ## make the reference pages again
	@tools/document.sh

clean: ## remove what was built
	@rm -rf build contracts/out contracts/cache
