# SPDX-License-Identifier: MIT
#
# The front door; meson.build has the rules, scripts/check.py what is checked.

BUILD = build
PYTHON = python3
# make -j2 build: ninja has as many jobs.
NINJA = ninja $(NINJAFLAGS) $(filter -j%,$(MAKEFLAGS))
fuzz: seconds = 600
igt: profile = bmg
soak: seconds = 3600
seeds = 1..60000

.PHONY: help demo build check check-san flake chaos igt igt-time fuzz soak plants oracle-plants
.PHONY: coverage bench install clean
.PHONY: deps deps-chaos deps-igt deps-check deps-fuzz deps-coverage

help:
	@echo 'make demo        build the usvm command and run its demonstration'
	@echo 'make build       build all of it in $(BUILD)/'
	@echo 'make check       every test, in every build that matters (minutes)'
	@echo 'make check-san   unit and live tests under ASan + UBSan, and under TSan'
	@echo 'make flake       live and stress tests, 20 times'
	@echo 'make chaos       real programs under usvm chaos, 10 times; names="xz sort"'
	@echo 'make igt         the GPU tests of Intel on the virtual card; profile=cri,'
	@echo '                 match=multi-queue, binaries="xe_vm"; writes docs/igt.md'
	@echo 'make igt-time    how long the largest of them takes, and with all memory at home'
	@echo 'make plants      planted bugs, and whether the simulator finds them'
	@echo 'make oracle-plants  the same, and whether usvm oracle finds them'
	@echo 'make fuzz        both engines, seconds=600 for each target'
	@echo 'make soak        the simulator, 10^9 steps: seeds=1..60000; then usvm oracle for an'
	@echo '                 hour: seconds=3600'
	@echo 'make coverage    which lines and branches of src/ the tests run'
	@echo 'make bench       the benchmarks, in full; json=FOLDER runs=3: JSON and drawings'
	@echo 'make install     into $$prefix (/usr/local), below $$DESTDIR'
	@echo 'make clean       remove what was built'
	@echo 'make deps        install what a build needs; deps-check, deps-chaos, deps-fuzz, ...'
	@echo
	@echo 'Each installs what it lacks itself, by scripts/deps.sh, which says what it does.'

deps:
	@scripts/deps.sh build

deps-check:
	@scripts/deps.sh build check

$(BUILD)/build.ninja: | deps
	meson setup $(BUILD) $(if $(prefix),--prefix=$(prefix))

deps-fuzz:
	@scripts/deps.sh build check fuzz

deps-chaos:
	@scripts/deps.sh build check chaos

deps-igt:
	@scripts/deps.sh build igt

deps-coverage:
	@scripts/deps.sh build check coverage

build: deps $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD)

demo: deps $(BUILD)/build.ninja
	$(NINJA) -C $(BUILD) usvm
	$(BUILD)/usvm demo

check: deps-check
	@$(PYTHON) scripts/check.py

check-san: deps-check
	@$(PYTHON) scripts/check.py --sanitize

flake: deps-check
	@$(PYTHON) scripts/check.py --flake 20

fuzz: deps-fuzz
	@$(PYTHON) scripts/fuzz.py --engine both --seconds $(seconds) $(targets)

soak: build
	@nice $(BUILD)/tests/sim/usvm-sim --profile all --seeds $(seeds) --keep-going; \
	sim=$$?; nice $(BUILD)/usvm oracle --seconds $(seconds) && exit $$sim

chaos: deps-chaos build
	@tests/chaos/chaos_test.py --usvm $(BUILD)/usvm --behave $(BUILD)/tests/chaos/behave \
		--long --runs 10 $(names)
	@tests/chaos/chaos_test.py --usvm $(BUILD)/usvm --behave $(BUILD)/tests/chaos/behave \
		--long --plant $(names)

igt: deps-igt build
	rm -f $(BUILD)/igt-$(profile).json
	-scripts/igt.sh $(BUILD) --profile $(profile) --match '$(match)' \
		--results $(BUILD)/igt-$(profile).json $(binaries)
	$(PYTHON) scripts/igt.py --write docs/igt.md \
		$$(ls $(BUILD)/igt-bmg.json $(BUILD)/igt-cri.json 2>/dev/null)

igt-time: deps-igt build
	rm -f $(BUILD)/igt-time.json $(BUILD)/igt-home.json
	-scripts/igt.sh $(BUILD) --again 0 --match '$(match)' \
		--results $(BUILD)/igt-time.json xe_exec_system_allocator
	-scripts/igt.sh $(BUILD) --again 0 --match '$(match)' --migrate never \
		--results $(BUILD)/igt-home.json xe_exec_system_allocator
	$(PYTHON) scripts/igt.py --time $(BUILD)/igt-time.json $(BUILD)/igt-home.json

plants: build
	@$(PYTHON) scripts/plants.py --sim $(BUILD)/tests/sim/usvm-sim $(names)

oracle-plants: build
	@$(PYTHON) scripts/oracle-plants.py --usvm $(BUILD)/tests/oracle/usvm-planted $(names)

coverage: deps-coverage
	@$(PYTHON) scripts/coverage.py

bench: build
	$(if $(json),USVM_BENCH_JSON=$(abspath $(json))) USVM_BENCH_RUNS=$(runs) \
		$(NINJA) -C $(BUILD) bench

install: deps $(BUILD)/build.ninja
	meson configure $(BUILD) -Dprefix=$(or $(prefix),/usr/local)
	$(NINJA) -C $(BUILD)
	meson install -C $(BUILD) --no-rebuild $(if $(DESTDIR),--destdir=$(abspath $(DESTDIR)))
	$(if $(DESTDIR)$(filter-out /usr /usr/local,$(prefix)),,[ "$$(id -u)" != 0 ] || ldconfig)

clean:
	rm -rf $(BUILD) $(BUILD)-*
