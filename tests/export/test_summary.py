"""What a frozen file says of itself in words."""

from dataclasses import replace

from autobatch.export.summary import summary

GIB = 2**30


def test_the_peak_is_told_with_the_card(chosen):
    assert "Device peak with the longest batch: 18.0 GiB of 24.0 GiB." in summary(chosen, "hf")


def test_what_a_loop_never_asked_for_is_named(chosen):
    taken = tuple(name for name in chosen.configuration if name not in ("optim", "precision"))
    loop = replace(chosen, workload=replace(chosen.workload, taken=taken))

    assert "Left out, as the loop never asked for them: precision, optim." in summary(loop, "hf")
    assert "Left out" not in summary(chosen, "hf")


def test_training_and_evaluation_are_told_apart(chosen):
    peaks = {"train_device_peak_used_bytes": 12 * GIB, "eval_device_peak_used_bytes": 18 * GIB}
    measured = replace(chosen, measurements=replace(chosen.measurements, **peaks))

    assert "18.0 GiB of 24.0 GiB (training 12.0 GiB, evaluation 18.0 GiB)." in summary(measured, "hf")


def test_no_name_acts_on_the_terminal(chosen):
    said = summary(replace(chosen, study="\x1b[2Jmine\nnext"), "hf")

    assert "Study \ufffd[2Jmine next, trial 7, toy." in said.splitlines()


def test_of_inference_the_training_batch_is_said_to_be_unmeasured(inference):
    said = summary(inference, "hf")

    assert "nothing was trained. Left out, as they were not measured: per_device_train_batch_size, " in said
    assert "Promised: 10 samples/s of evaluation at eval batch 32." in said
    assert "Effective batch" not in said
