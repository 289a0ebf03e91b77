"""The examples in the pages run as they stand, but for the address and the key."""

import re

import pytest

from tests.running import ROOT, Running

pytestmark = pytest.mark.heavy


def test_the_python_examples_for_applications_run(service: Running):
    page = (ROOT / "service" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    names: dict = {}
    for block in blocks:
        code = block.replace("http://127.0.0.1:8000", service.api_url).replace("tb-...", service.admin_key)
        assert code != block
        exec(compile(code, "service/README.md", "exec"), names)
    with service.client() as http:
        given = http.get("/api/feedback", params={"completion_id": names["answer"].id}).json()["data"]
    assert [one["type"] for one in given] == ["correction"]
