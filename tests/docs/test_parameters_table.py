"""The table of parameters in docs/api-endpoints.md is the program's."""

from tools.docs_tables import API_PAGE, generated_api


def test_the_table_of_parameters_is_the_programs() -> None:
    assert API_PAGE.read_text() == generated_api(API_PAGE.read_text()), "run: make generate"
