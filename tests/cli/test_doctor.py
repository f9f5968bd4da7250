"""`textvae doctor`."""

import json

from textvae.cli.doctor import diagnosis_lines


def test_json_and_lines(textvae, trained):
    written = json.loads((trained.folder / "doctor.json").read_text())
    found = textvae("doctor", trained.folder, "--json").json
    assert found["verdict"] == written["verdict"] == "healthy"
    assert found.keys() == written.keys()
    result = textvae("doctor", trained.folder)
    assert result.code == 0
    assert result.out.splitlines() == diagnosis_lines(found)


def test_lines():
    diagnosis = {"verdict": "partial", "findings": ["One.", "Two."], "advice": ["Do."]}
    assert diagnosis_lines(diagnosis) == ["verdict: partial", "  One.", "  Two.", "What to change:", "  Do."]
    assert diagnosis_lines(diagnosis | {"advice": []}) == ["verdict: partial", "  One.", "  Two."]
