# make demo   the shell on the BCL recipe with real digits; a short scripted tour where stdin is no terminal
# make test   ruff, the type checker and pytest
# make bench  what tdb costs, side by side with the same training without it

PYTHON ?= python3
BIN := .venv/bin
# Written last, so that an interrupted installation is taken up again.
READY := .venv/.ready

.PHONY: demo test bench clean

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[recipes,test]'
	touch $(READY)

demo: $(READY)
	@if [ -t 0 ]; then \
		$(BIN)/tdb -m recipes.gradient_gating_l0 --condition bcl-slow --steps 2000; \
	else \
		for tour in first_steps:200 inside_a_batch:200 over_time:200 why_do_features_converge:5000; do \
			echo "== recipes/tours/$${tour%:*}.tdb"; \
			$(BIN)/tdb --nx --batch -x recipes/tours/$${tour%:*}.tdb \
				-m recipes.gradient_gating_l0 --condition bcl-slow --steps $${tour#*:} || exit 1; \
		done; \
	fi

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

bench: $(READY)
	$(BIN)/python -m tests.bench

clean:
	rm -rf .venv build dist *.egg-info tdb-figures
