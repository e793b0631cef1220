# Two commands do everything, set-up included, on a machine with Rust:
#   make demo    the whole loop on a sample data set (DATA=dir: on your own folder); results in demo/out/
#   make test    every check: formatting, lints, tests, licences
.DEFAULT_GOAL := help
SHELL := /bin/bash

# The profile is one for all (Cargo.toml): torch-sys costs minutes for each.
CARGO_BUILD := cargo build --release --locked --workspace
TARGET := $(or $(CARGO_TARGET_DIR),target)/release

# Binaries look for these beside themselves; a target folder elsewhere has nothing beside it.
export ORT_DYLIB_PATH ?= $(CURDIR)/.native/onnxruntime/libonnxruntime.so
export OPENVINO_DYLIB_PATH ?= $(CURDIR)/.native/openvino/libopenvino_c.so

.PHONY: help
help: ## what there is to type
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

.PHONY: setup
setup: ## compilers and native libraries (apt when root; else says what is missing)
	@scripts/setup
	@scripts/native

.PHONY: build
build: setup ## every binary, into target/release
	$(CARGO_BUILD)

.PHONY: demo
demo: build ## train, publish, serve and swap on one box; pictures and summary in demo/out
	$(TARGET)/edgeloop demo $(if $(DATA),--data $(DATA)) --out demo/out $(if $(filter 1,$(STRICT)),--strict)

.PHONY: test
test: setup fmt clippy licences unit ## every check

.PHONY: fmt
fmt: ## formatting
	cargo fmt --all --check

.PHONY: clippy
clippy: setup ## lints, warnings denied
	cargo clippy --release --locked --workspace --all-targets -- -D warnings

.PHONY: unit
unit: build ## unit and integration tests (the binaries are built first: tests/ starts them)
	# Tests share their cores: OpenMP threads that spin while another test computes make each other 30 times slower.
	OMP_WAIT_POLICY=PASSIVE cargo test --release --locked --workspace

.PHONY: parity
parity: build ## our numbers against ultralytics, live (fetches it into a throw-away environment)
	scripts/parity

.PHONY: bench-train
bench-train: build ## training beside ultralytics: images/s, memory, first step; target/bench/train.json
	$(TARGET)/draw-counter target/bench/counter
	$$(scripts/yardstick) bench/train/bench.py $(TARGET)/edgeloop-trainer target/bench/counter/data.yaml target/bench/train.json

.PHONY: bench-memory
bench-memory: setup ## memory of a training on 500 and on 50,000 images; target/bench/memory.json
	cargo run --release --locked -p edgeloop-trainer --example memory -- --out target/bench/memory.json

.PHONY: bench-accuracy
bench-accuracy: build ## the same start, images and judge for us and ultralytics: mAP50-95 by seed (an hour on two cores)
	$(TARGET)/draw-counter target/bench/counter
	$$(scripts/yardstick) bench/train/accuracy.py $(TARGET)/edgeloop-trainer target/bench/counter/data.yaml target/bench/train.json

.PHONY: bench-reload
bench-reload: build ## 200 swaps among three models under load, DEVICE=cpu or auto; target/bench/reload.json
	$(TARGET)/bench-reload --device $(or $(DEVICE),cpu)

.PHONY: soak
soak: build ## swaps under load for MINUTES; target/bench/soak.json
	$(TARGET)/bench-reload --device $(or $(DEVICE),cpu) --minutes $(or $(MINUTES),30) --out target/bench/soak.json

.PHONY: bench-idle
bench-idle: build ## starts, first answers after a move of the pointer, and what an idle inferer costs; target/bench/idle.json
	$(TARGET)/bench-idle --device $(or $(DEVICE),cpu)

.PHONY: chaos
chaos: setup ## 32 threads x 200 changes of the store while serving, 10,000 mutated models (half an hour); `make test` does a few
	CHAOS=$(or $(CHAOS),200) MUTANTS=$(or $(MUTANTS),10000) cargo test --release --locked -p edgeloop-inferer --test serving -- chaos mutants --nocapture

.PHONY: bench-beside
bench-beside: build ## one training beside a saturated inferer; target/bench/beside.json
	$(TARGET)/draw-counter target/bench/few --images 60
	IMAGES_DIR=target/bench/few MODEL_DIR=target/bench/few-models EPOCHS=1 IMGSZ=320 GATE_MIN_MAP50=0 $(TARGET)/edgeloop-trainer >/dev/null
	$$(scripts/yardstick) bench/train/beside.py $(TARGET) target/bench/few target/bench/few-models target/bench/beside.json

.PHONY: bench-serve
bench-serve: build ## serving beside Flask, LitServe and FastAPI: images/s and latencies; target/bench/serve.json (20 minutes)
	$(TARGET)/draw-counter target/bench/few --images 60
	for size in 320 640; do IMAGES_DIR=target/bench/few MODEL_DIR=target/bench/serve-models/$$size EPOCHS=20 IMGSZ=$$size GATE_MIN_MAP50=0 $(TARGET)/edgeloop-trainer >/dev/null; done
	$$(scripts/yardstick) bench/serve/serve.py $(TARGET) target/bench/serve-models target/bench/few target/bench/serve.json

.PHONY: forgetting
forgetting: setup ## a new class in new images alone: kept by replay, refused by the gate without; with its figures
	OMP_WAIT_POLICY=PASSIVE cargo test --release --locked -p edgeloop-trainer --test forgetting -- --nocapture

.PHONY: kill-train
kill-train: setup ## kill -9 a training at twenty random moments (KILLS=n); `make test` does five
	OMP_WAIT_POLICY=PASSIVE KILLS=$(or $(KILLS),20) cargo test --release --locked -p edgeloop-trainer --test process kill -- --nocapture

.PHONY: test-clients
test-clients: setup ## other people's clients: the manual's curl, schemathesis over /openapi.json, promtool (fetches both)
	scripts/test-clients

.PHONY: test-rules
test-rules: ## the chart's alerts, each fired by made-up series (fetches promtool once)
	promtool=$$(scripts/promtool) && "$$promtool" check rules chart/files/rules.yaml && "$$promtool" test rules chart/tests/rules.yaml

.PHONY: test-cluster
test-cluster: setup ## agent, reaper, uninstall and doctor on a real API server: that of KUBECONFIG, or one built once (10 minutes, needs Go; root)
	@if command -v go >/dev/null; then [ -n "$$KUBECONFIG" ] || scripts/cluster build; scripts/cluster kwok >/dev/null; fi
	# --workspace, not -p: with other features chosen, all dependencies that `make test` has built would be built once more.
	EDGELOOP_TEST_CLUSTER=1 cargo test --release --locked --workspace --test cluster -- $(ONLY)
	$(if $(ONLY),,EDGELOOP_TEST_CLUSTER=1 cargo test --release --locked --workspace --test doctor)

.PHONY: test-chart
test-chart: build ## the Helm chart: lint, golden renders, values that must fail, and what a real API server says to each (needs Go, once)
	scripts/cluster helm >/dev/null
	scripts/cluster build
	EDGELOOP_TEST_CHART=1 cargo test --release --locked -p edgeloop-tests --test chart -- --nocapture

.PHONY: bench-fleet
bench-fleet: setup ## the reaper over 2,000 pretended nodes (FLEET=n), of which 200 stop at once; target/bench/fleet.json
	scripts/cluster build
	scripts/cluster kwok >/dev/null
	EDGELOOP_TEST_CLUSTER=1 FLEET=$(or $(FLEET),2000) BENCH_OUT=$(CURDIR)/target/bench cargo test --release --locked --workspace --test cluster -- fleet

.PHONY: bench-agent
bench-agent: setup ## an agent at rest for five minutes (REST_SECONDS): memory, CPU, size; target/bench/agent.json
	scripts/cluster build
	EDGELOOP_TEST_CLUSTER=1 BENCH_OUT=$(CURDIR)/target/bench cargo test --release --locked --workspace --test cluster -- bench_agent

.PHONY: bench-folder
bench-folder: setup ## an images folder of IMAGES=100000 beside requests: memory, latencies, then CPU while idle
	FOLDER_IMAGES=$(or $(IMAGES),100000) cargo test --release --locked -p edgeloop-inferer --test serving many_images -- --nocapture

.PHONY: mutated-bodies
mutated-bodies: setup ## 10,000 damaged pictures through a running inferer (BODIES=n); `make test` does 1,000
	MUTATED_BODIES=$(or $(BODIES),10000) cargo test --release --locked -p edgeloop-inferer --test serving mutated -- --nocapture

.PHONY: images
images: build ## the three images with docker, podman or buildah; archives, SBOMs and sizes in target/images (BASE, TAG: scripts/images)
	@TARGET=$(TARGET) scripts/images

.PHONY: e2e
e2e: images ## the chart on a real kubelet, the manual's commands in order: KUBECONFIG's cluster, or a node made for it (first time an hour; root); target/e2e.json
	@TARGET=$(TARGET) scripts/e2e

.PHONY: release
release: build ## a release's files for this architecture: the static agent, the whole loop, the chart, checksums; target/release-files
	@TARGET=$(TARGET) scripts/release

.PHONY: licences
licences: ## licences, bans and sources of every dependency
	scripts/tool cargo-deny --locked check --hide-inclusion-graph bans licenses sources

.PHONY: fuzz
fuzz: setup ## the readers of other people's files, each fuzzed for a minute (FUZZ_SECONDS)
	scripts/fuzz
