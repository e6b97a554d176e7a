"""What models were measured at, for tests that hand such figures on."""

from inkloop.evaluation import ModelReport, Report

FIGURES = ModelReport(
    validation_accuracy=0.9921,
    test_accuracy=0.9912,
    deformed_accuracy=0.9534,
    parameters=54_321,
    size_bytes=87_654,
    latency_p50_us=151.4,
    latency_p99_us=210.0,
    slices={"label 8": 0.981, "label 1": 0.997, "slant: left": 0.96},
)
KINDS = ("teacher", "student", "pruned", "int8")
REPORT = Report(models=dict.fromkeys(KINDS, FIGURES), chosen="int8", hardware="cpu", confusion=((1, 0), (0, 1)))
