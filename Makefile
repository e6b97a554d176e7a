.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3.11
PROFILE ?= default#   smoke (a minute), default (eleven), full (an hour and a half), or a file of your own
HARDWARE ?=#          where the model is to run: edge (40 KB, 0.1 ms), cpu (250 KB, 0.5 ms) or gpu; empty: what the profile says
SOURCE ?=#            where the digits come from; empty: what the profile says
STORE ?=#             where models are kept: a folder or s3://bucket/prefix; empty: what the profile says
OPERATOR ?=#          of make key: 1 for a key that may press the operators' buttons too
ID ?=#                of make trace: the prediction_id of an answer
JSON ?=#              of make trace: 1 for JSON
PERSON ?=#            of make forget: as sent in the header Inkloop-Person
SETTINGS ?=#          of make watch: a YAML file that says what differs
PORT ?=#              of make serve (empty: 3000), make dashboard (3001) and make monitor (8000)
MINUTES ?=#           of make monitor: how much time a report is of; empty: a day
VERSION ?=#           a model, by the model_version of its answers
FILE ?=#              of make strokes: UCI's pen digits or a UNIPEN file; of make bench-strokes: UCI's
CANARY ?=#            of make challenge: the share of those who ask; empty: only in the shadow
REASON ?=#            of make rollback and retrain: why
MODEL ?=#             of make exports: a model directory; empty: the champion
DIGITS ?=#            of make exports: how many test digits each is asked; empty: all 10,000
TO ?=#                of make backup: an empty folder, or s3://bucket/prefix
FROM ?=#              of make restore: what make backup wrote
KFP_HOST ?=#          http://host:port of Kubeflow Pipelines
EXPERIMENT ?=#        of Kubeflow, under which runs are filed; empty: inkloop
CRON ?=#              of make pipeline-schedule: minute, hour, day, month, day of the week, as "0 3 * * *"; or @daily
UV_VERSION := 0.13.9

READY := .venv/.ready
RUN := .venv/bin/python
EXPORTS := .venv/exports# what `make exports` alone needs, beside the lock
UV := .venv/bin/uv

# uv does not read pip's settings: hand them over where they are set.
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS := $(PIP_FIND_LINKS)
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX := $(PIP_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE := $(PIP_CERT)
endif

.PHONY: help setup backup restore infra-check cluster-up cluster-down pipeline-run pipeline-submit pipeline-compile serve watch retrain loop-demo rollback readmit challenge withdraw key forget test test-slow test-faults bench-pipeline bench-serve bench-policies bench-train bench-accuracy bench-robustness lab lab-quick bench-recognizer check audit format golden lock clean bench-drift monitor bench-monitor dashboard bench-strokes strokes strokes-dismiss bench-lines lines lines-dismiss bench-ray-train bench-scaling bench-asha bench-compress exports pipeline-schedule pipeline-unschedule pipeline-schedules trace

help: ## list what make can do
	@awk -F ':.*## ' '/^##@ / {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-19s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## install the locked packages into .venv (every other target does so by itself)

$(READY): requirements.lock $(wildcard inkloop/*.c inkloop/*.h)
	@command -v $(PYTHON) > /dev/null || { echo "Python 3.11 is needed, and $(PYTHON) is not there. Install it, or name it: make setup PYTHON=/path/to/python3.11"; exit 2; }
	@echo "Setting up: the packages of requirements.lock go into .venv and our C code is compiled; a minute or two, once."
	@test -x $(RUN) || $(PYTHON) -m venv .venv
	@test -x $(UV) && $(UV) --version | grep -q ' $(UV_VERSION)' || $(RUN) -m pip install --quiet uv==$(UV_VERSION)
	@$(UV) pip install --quiet --compile-bytecode --python $(RUN) -r requirements.lock
	@$(UV) pip install --quiet --python $(RUN) --reinstall --no-deps --no-build-isolation -e .
	@touch $@

##@ Training

pipeline-run: $(READY) ## run the whole pipeline on this machine (PROFILE=smoke|default|full|edge says what is trained, HARDWARE=edge|cpu|gpu which of it goes on; SOURCE=... STORE=...)
	@$(RUN) -m pipeline run --profile "$(PROFILE)" $(if $(HARDWARE),--hardware "$(HARDWARE)") $(if $(SOURCE),--source "$(SOURCE)") $(if $(STORE),--store "$(STORE)")

pipeline-submit: $(READY) ## upload the pipeline to Kubeflow and start it (KFP_HOST=http://... PROFILE=... STORE=s3://... EXPERIMENT=...)
	@$(RUN) -m pipeline submit --host "$(KFP_HOST)" --profile "$(PROFILE)" $(if $(HARDWARE),--hardware "$(HARDWARE)") $(if $(SOURCE),--source "$(SOURCE)") $(if $(STORE),--store "$(STORE)") $(if $(EXPERIMENT),--experiment "$(EXPERIMENT)")

pipeline-schedule: $(READY) ## have Kubeflow run it again and again (CRON="0 3 * * *" KFP_HOST=http://... PROFILE=... STORE=s3://...); replaces the profile's
	@$(RUN) -m pipeline schedule --host "$(KFP_HOST)" --profile "$(PROFILE)" --cron "$(CRON)" $(if $(HARDWARE),--hardware "$(HARDWARE)") $(if $(SOURCE),--source "$(SOURCE)") $(if $(STORE),--store "$(STORE)") $(if $(EXPERIMENT),--experiment "$(EXPERIMENT)")

pipeline-unschedule: $(READY) ## remove the profile's recurring run from Kubeflow (KFP_HOST=http://... PROFILE=...)
	@$(RUN) -m pipeline unschedule --host "$(KFP_HOST)" --profile "$(PROFILE)" $(if $(EXPERIMENT),--experiment "$(EXPERIMENT)")

pipeline-schedules: $(READY) ## list the recurring runs on Kubeflow (KFP_HOST=http://...)
	@$(RUN) -m pipeline schedules --host "$(KFP_HOST)" $(if $(EXPERIMENT),--experiment "$(EXPERIMENT)")

pipeline-compile: $(READY) ## write the pipeline as Kubeflow's IR YAML to artifacts/pipeline.yaml (PROFILE=...)
	@$(RUN) -m pipeline compile artifacts/pipeline.yaml --profile "$(PROFILE)"

##@ Models and their service

serve: $(READY) ## serve the champion on http://127.0.0.1:3000 (PORT=... STORE=...)
	@$(RUN) -m pipeline serve $(if $(STORE),--store "$(STORE)") $(if $(PORT),--port "$(PORT)")

rollback: $(READY) ## put the champion before back (REASON="misreads 7" STORE=...)
	@$(RUN) -m pipeline rollback --reason "$$REASON" $(if $(STORE),--store "$(STORE)")

readmit: $(READY) ## let a model that was rolled back be promoted again (VERSION=... STORE=...)
	@$(RUN) -m pipeline readmit "$(VERSION)" $(if $(STORE),--store "$(STORE)")

challenge: $(READY) ## try a model in the shadow of the champion, or on a share of requests (VERSION=... CANARY=0.05 STORE=...)
	@$(RUN) -m pipeline challenge "$(VERSION)" $(if $(CANARY),--canary "$(CANARY)",--shadow) $(if $(STORE),--store "$(STORE)")

withdraw: $(READY) ## try no challenger any longer (STORE=...)
	@$(RUN) -m pipeline withdraw $(if $(STORE),--store "$(STORE)")

trace: $(READY) ## where an answer comes from, down to the bytes of its training data (ID=prediction_id JSON=1 STORE=...)
	@$(RUN) -m pipeline trace "$(ID)" $(if $(JSON),--json) $(if $(STORE),--store "$(STORE)")

strokes: $(READY) ## train a reader of pen strokes, on traced MNIST and FILE=..., and have it answer /predict/strokes (STORE=...)
	@OMP_NUM_THREADS=1 $(RUN) -m pipeline strokes $(if $(FILE),--file "$(FILE)") $(if $(STORE),--store "$(STORE)")

strokes-dismiss: $(READY) ## have pen strokes read as pictures again, by the champion (STORE=...)
	@$(RUN) -m pipeline strokes --dismiss $(if $(STORE),--store "$(STORE)")

lines: $(READY) ## train a reader of whole lines of digits, and have it answer /predict/line (STORE=...; a quarter of an hour of one core)
	@OMP_NUM_THREADS=1 $(RUN) -m pipeline lines $(if $(STORE),--store "$(STORE)")

lines-dismiss: $(READY) ## have lines read no longer (STORE=...)
	@$(RUN) -m pipeline lines --dismiss $(if $(STORE),--store "$(STORE)")

exports: $(READY) $(EXPORTS)/.ready ## write a model as ONNX, torch.export, OpenVINO, LiteRT and for TensorRT, and prove each equal (MODEL=folder DIGITS=... STORE=...)
	@OMP_NUM_THREADS=1 PYTHONPATH=$(EXPORTS) $(RUN) -m pipeline exports $(if $(MODEL),"$(MODEL)") $(if $(DIGITS),--digits "$(DIGITS)") $(if $(STORE),--store "$(STORE)")

$(EXPORTS)/.ready: requirements-exports.lock | $(READY)
	@rm -rf $(EXPORTS)
	$(UV) pip install --quiet --target $(EXPORTS) --no-deps --python $(RUN) -r $<
	@touch $@

##@ The loop

watch: $(READY) ## watch what production sends, and retrain when the model gets worse (STORE=... SETTINGS=watch.yaml)
	@$(RUN) -m pipeline watch $(if $(STORE),--store "$(STORE)") $(if $(SETTINGS),--settings "$(SETTINGS)")

retrain: $(READY) ## train the champion on, on what production sent and people labeled (REASON=... STORE=...)
	@$(RUN) -m pipeline retrain $(if $(REASON),--why "$$REASON") $(if $(STORE),--store "$(STORE)")

dashboard: $(READY) ## show what the loop does, with buttons, on http://127.0.0.1:3001 (PORT=... STORE=...)
	@$(RUN) -m pipeline dashboard $(if $(STORE),--store "$(STORE)") $(if $(PORT),--port "$(PORT)")

monitor: $(READY) ## report on what was captured, and show it on http://127.0.0.1:8000 (PORT=... MINUTES=60 STORE=...)
	@$(RUN) -m pipeline monitor $(if $(STORE),--store "$(STORE)") $(if $(PORT),--port "$(PORT)") $(if $(MINUTES),--minutes "$(MINUTES)")

loop-demo: $(READY) ## the closed loop live: other people write, the alarm fires, a better champion takes over (ten minutes)
	@$(RUN) -m benchmarks.loop_demo

##@ Keys, people, backups

key: $(READY) ## make an API key for corrections, or an operator's, and print it (NAME=... OPERATOR=1 STORE=...)
	@$(RUN) -m pipeline keys add "$(NAME)" $(if $(OPERATOR),$(if $(filter 1,$(OPERATOR)),--operator,$(error OPERATOR=$(OPERATOR): give 1 for an operator's key, or leave it out))) $(if $(STORE),--store "$(STORE)")

forget: $(READY) ## remove what one person wrote or labeled from all that was captured (PERSON=... STORE=...)
	@$(RUN) -m pipeline forget "$(PERSON)" $(if $(STORE),--store "$(STORE)")

backup: $(READY) ## copy the whole store to an empty place, while it is in use (TO=folder or s3://... STORE=...)
	@$(RUN) -m pipeline backup "$(TO)" $(if $(STORE),--store "$(STORE)")

restore: $(READY) ## bring a backup back into an empty store (FROM=folder or s3://... STORE=...)
	@$(RUN) -m pipeline restore "$(FROM)" $(if $(STORE),--store "$(STORE)")

##@ Clusters

cluster-up: ## all of it on a kind cluster on this machine: images, Kubeflow, KubeRay, the store, the first champion (needs docker, kind, kubectl)
	@infra/k8s/cluster up

cluster-down: ## remove that cluster, and all that it holds
	@infra/k8s/cluster down

infra-check: $(READY) ## build the overlays of infra/k8s and check them against Kubernetes' and KubeRay's schemas (KUBERAY_CRDS=folder)
	@$(RUN) -m pytest -m "not slow" tests/test_kubernetes.py tests/test_cluster.py tests/test_images.py

##@ Tests and upkeep

test: $(READY) ## run the tests, but for those that take minutes
	@$(RUN) -m pytest -m "not slow and not faults"

test-slow: $(READY) ## run the tests that take minutes
	@$(RUN) -m pytest -m slow --timeout=1800

test-faults: $(READY) ## run the tests in which clients attack, disks fill up and processes are killed (ten minutes)
	@$(RUN) -m pytest -m faults --timeout=1800

check: $(READY) ## lint, formatting, types, import contracts
	@.venv/bin/ruff check
	@.venv/bin/ruff format --check
	@.venv/bin/mypy
	@.venv/bin/lint-imports

audit: $(READY) ## ask OSV for known vulnerabilities of the locked packages (exit code 3: it could not be asked)
	@$(RUN) .ci/audit.py

format: $(READY) ## format the code and mend what the linter can mend
	@.venv/bin/ruff check --fix-only
	@.venv/bin/ruff format

golden: $(READY) ## renew tests/golden/pipeline.yaml after a wanted change of the graph
	@env -u INKLOOP_IMAGE $(RUN) -m pipeline compile tests/golden/pipeline.yaml

# CUDA's packages stay out of the lock: a PyTorch that needs them brings its own, the CPU build has none.
WITHOUT_CUDA := grep -vE '^(cuda-|triton=|nvidia-[^m])' .lock.unfinished | sed 's/+cpu$$//'
# Of the exports' packages only those are listed that the lock has not, and the lock's versions stay whatever they ask for:
# xdsl 0.28 wants typing-extensions before 4.13, but runs with a later one.
lock: $(READY) ## bring requirements.lock and the locks beside it (-exports, -train, -serve, -monitor) up to pyproject.toml, keeping versions that still fit (remove it first to upgrade all)
	@cp -f requirements.lock .lock.unfinished 2> /dev/null || touch .lock.unfinished
	@$(UV) pip compile --quiet --no-annotate --no-header --python $(RUN) --extra dev pyproject.toml -o .lock.unfinished
	@$(WITHOUT_CUDA) > requirements.lock
	@cp -f requirements-exports.lock .lock.unfinished 2> /dev/null || touch .lock.unfinished
	@$(UV) pip compile --quiet --no-annotate --no-header --python $(RUN) --extra exports --override requirements.lock pyproject.toml -o .lock.unfinished
	@$(WITHOUT_CUDA) | grep -vxFf requirements.lock > requirements-exports.lock
	@$(UV) pip compile --quiet --no-annotate --no-header --python $(RUN) --group pyproject.toml:train --constraint requirements.lock pyproject.toml -o .lock.unfinished
	@$(WITHOUT_CUDA) > requirements-train.lock
	@rm .lock.unfinished
	@$(UV) pip compile --quiet --no-annotate --no-header --python $(RUN) --group serve --constraint requirements.lock -o requirements-serve.lock
	@$(UV) pip compile --quiet --no-annotate --no-header --python $(RUN) --group monitor --constraint requirements.lock -o requirements-monitor.lock

clean: ## remove artifacts and caches; data, store and .venv stay
	rm -rf artifacts .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +

##@ Benchmarks

bench-pipeline: $(READY) ## time the profile from nothing over three seeds (half an hour); keeps benchmarks/results/pipeline.json
	@$(RUN) -m benchmarks.pipeline --profile "$(PROFILE)"

bench-serve: $(READY) ## time the served champion beside other servers (STORE=...; a quarter of an hour); keeps benchmarks/results/serve.json
	@$(RUN) -m benchmarks.serve $(if $(STORE),--store "$(STORE)")

bench-policies: $(READY) ## replay a stream of drifts under each policy of retraining (a quarter of an hour); keeps benchmarks/results/policies.json
	@$(RUN) -m benchmarks.policies

bench-recognizer: $(READY) ## what each shape of the recognizer costs (a minute); keeps benchmarks/results/recognizer.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.recognizer

bench-strokes: $(READY) ## train the reader of pen strokes (FILE=path/to/pendigits.csv; half an hour); keeps benchmarks/results/strokes.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.strokes "$(FILE)"

bench-lines: $(READY) ## train a reader of whole lines over three seeds (three quarters of an hour of one core; goes on after the last finished seed); keeps benchmarks/results/lines.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.lines

bench-drift: $(READY) ## false alarms and delays of the drift detector (STORE=...; a quarter of an hour); keeps benchmarks/results/drift.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.drift $(if $(STORE),--store "$(STORE)")

bench-monitor: $(READY) ## report on a million captured rows (STORE=... for the champion; a few minutes); keeps benchmarks/results/monitor.json
	@$(RUN) -m benchmarks.monitor $(if $(STORE),--store "$(STORE)")

bench-accuracy: $(READY) ## how far the recurrent core gets, by size, over five seeds (hours; goes on where it was stopped); keeps benchmarks/results/accuracy.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.accuracy

bench-train: $(READY) ## time to accuracy on one core, and the training loop beside the articles' (a quarter of an hour); keeps benchmarks/results/train.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.train

bench-ray-train: $(READY) ## what Ray Train costs one worker, beside the same training without Ray (a quarter of an hour); keeps benchmarks/results/ray_train.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.ray_train

bench-scaling: $(READY) ## what an epoch costs on Ray by images and workers, and what a worker holds (a quarter of an hour); keeps benchmarks/results/scaling.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.scaling

bench-asha: $(READY) ## the search with ASHA beside the one that stops no trial (half an hour); keeps benchmarks/results/asha.json
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.asha

bench-robustness: $(READY) ## what the champion reads of corrupted, photographed and other people's digits (STORE=... SOURCE=folder; minutes)
	@OMP_NUM_THREADS=1 $(RUN) -m benchmarks.robustness $(if $(STORE),--store "$(STORE)") $(if $(SOURCE),--source "$(SOURCE)")

bench-compress: $(READY) $(EXPORTS)/.ready ## what distillation, pruning, INT8 and each engine bring (hours; goes on where it was stopped); writes docs/compression.md
	@OMP_NUM_THREADS=1 PYTHONPATH=$(EXPORTS) $(RUN) -m benchmarks.compress

lab: $(READY) ## settle the articles' claims: every variant, five seeds (hours; goes on where it was stopped); writes docs/claims.md
	@$(RUN) -m benchmarks.lab

lab-quick: $(READY) ## the same with few digits, few epochs and one seed (under twenty minutes on two cores)
	@$(RUN) -m benchmarks.lab --quick
