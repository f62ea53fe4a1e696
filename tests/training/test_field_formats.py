"""Ten rows of each dataset of the field, in its layout with invented content, become exactly the rows they mean."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from training.data.data_files import BadRow, Row, preview, read_rows


class Case(NamedTuple):
    """What one row of the dataset says: `winner` is "a", "b" or, for a tie, ""."""

    number: int
    question: str
    a: str
    b: str
    winner: str


CASES = [
    Case(1, "Which bird stands in the reeds?", "A heron.", "Leave me alone.", "a"),
    Case(2, "How deep is Lake Orvane?", "No idea.", "About 40 meters.", "b"),
    Case(3, "Who built the mill of Tarsk?", "The miller Odo did.", "Mills build themselves.", "a"),
    Case(4, "Is the ferry to Nell free?", "Ask somebody.", "Yes, on Sundays.", "b"),
    Case(5, "Name a red fruit.", "A cherry.", "A currant.", ""),
    Case(6, "When does the market of Brin open?", "At eight.", "Whenever.", "a"),
    Case(7, "Translate 'puente'.", "Bridge, {in English}.", "[unclear]", "a"),
    Case(8, "What do owls eat?", "Mice.", " Mice. ", "b"),  # the same: no pair
    Case(9, "Can I swim there?", "Why would you?", "Yes; mind the current.", "b"),
    Case(10, "How long is a fathom?", "Six feet.", "Quite long.", "a"),
]
BAD_CASE = 8


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def expected(case: Case, has_ties: bool = True) -> Row | None:
    """The row that a case becomes; None for the one that cannot be used."""
    if case.number == BAD_CASE:
        return None
    prompt: Any = [user(case.question)]
    if case.winner == "b":
        return Row(prompt, case.b, case.a)
    return Row(prompt, case.a, case.b, case.winner == "" and has_ties)


def dialogue(case: Case, answer: str) -> list[dict[str, str]]:
    return [user(case.question), {"role": "assistant", "content": answer}]


def side(case: Case, a: Any, b: Any, tie: Any) -> Any:
    return {"a": a, "b": b, "": tie}[case.winner]


def one_in(case: Case, place: str) -> int:
    return int(case.winner == place)


def rated(text: str, rating: Any) -> dict[str, Any]:
    aspects = ("instruction_following", "honesty", "truthfulness", "helpfulness")
    return {"model": "bird-7b", "response": text, "overall_score": 10.0, "principle": "helpfulness",
            "annotations": {aspect: {"Rating": rating, "Rationale": "It says so."} for aspect in aspects}}


def task(case: Case, value: dict[str, Any]) -> dict[str, Any]:
    return {"id": case.number, "data": {"prompt": case.question, "answer1": case.a, "answer2": case.b},
            "annotations": [{"id": 1, "was_cancelled": False, "completed_by": 1,
                             "result": [{"type": "pairwise", "from_name": "pw", "value": value}]},
                            {"id": 2, "was_cancelled": True, "result": [
                                {"type": "pairwise", "value": {"selected": "right"}}]}],
            "predictions": [{"result": [{"type": "pairwise", "value": {"selected": "left"}}]}]}


def tree(case: Case) -> dict[str, Any]:
    ranks = side(case, (0, 1), (1, 0), (0, 0))
    replies = [{"message_id": f"r{place}", "text": text, "role": "assistant", "rank": rank, "replies": []}
               for place, (text, rank) in enumerate(zip((case.a, case.b), ranks, strict=True))]
    return {"message_tree_id": f"t{case.number}", "tree_state": "ready_for_export", "prompt": {
        "message_id": f"t{case.number}", "text": case.question, "role": "prompter", "lang": "en", "replies": replies}}


PAIRS: dict[str, tuple[str, Callable[[Case], dict[str, Any]]]] = {
    "ultrafeedback": ("UltraFeedback", lambda case: {
        "source": "towns", "instruction": case.question, "models": ["x", "y"], "correct_answers": ["None"],
        "completions": [rated(case.a, side(case, "5", "1", "4")), rated(case.b, side(case, "2", "3", "4"))]}),
    "helpsteer3": ("HelpSteer3", lambda case: {
        "domain": "general", "language": "english", "context": [user(case.question)], "response1": case.a,
        "response2": case.b, "overall_preference": side(case, -3, 1, 0),
        "individual_preference": [{"score": 1, "reasoning": "So.", "feedback1": "", "feedback2": ""}]}),
    "safe-rlhf": ("PKU-SafeRLHF", lambda case: {
        "prompt": case.question, "response_0": case.a, "response_1": case.b, "is_response_0_safe": True,
        "is_response_1_safe": True, "better_response_id": side(case, 0, 1, -1), "safer_response_id": 0}),
    "shp": ("SHP", lambda case: {
        "post_id": "p", "domain": "towns_train", "history": case.question, "human_ref_A": case.a, "human_ref_B": case.b,
        "labels": side(case, 1, 0, 1), "score_A": 9, "score_B": 4, "seconds_difference": 1.0, "score_ratio": 2.0}),
    "arena": ("Chatbot Arena", lambda case: {
        "question_id": "q", "model_a": "bird", "model_b": "fish", "winner": side(case, "model_a", "model_b", "tie"),
        "judge": "arena_user_1", "conversation_a": dialogue(case, case.a), "conversation_b": dialogue(case, case.b),
        "turn": 1, "anony": True, "language": "English", "tstamp": 1.0}),
    "lmsys": ("lmsys pairs", lambda case: {
        "id": case.number, "model_a": "bird", "model_b": "fish", "prompt": json.dumps([case.question]),
        "response_a": json.dumps([case.a]), "response_b": json.dumps([case.b]), "winner_model_a": one_in(case, "a"),
        "winner_model_b": one_in(case, "b"), "winner_tie": one_in(case, "")}),
    "openassistant-trees": ("OpenAssistant", tree),
    "argilla": ("Argilla", lambda case: {
        "id": "1", "status": "completed", "metadata": {}, "vectors": {},
        "fields": {"instruction": case.question, "response-1": case.a, "response-2": case.b},
        "suggestions": {"preference": {"value": "response-1", "agent": "judge"}},
        "responses": {"preference": [{"value": side(case, "response-1", "response-2", "tie"), "user_id": "u"}]}}),
    "argilla of version 1": ("Argilla", lambda case: {
        "fields": {"prompt": case.question, "response1": case.a, "response2": case.b}, "external_id": "7",
        "responses": [{"user_id": "u", "status": "submitted", "values": {
            "ranking": {"value": [{"value": "response1", "rank": side(case, 1, 2, 1)},
                                  {"value": "response2", "rank": side(case, 2, 1, 1)}]}}},
                      {"user_id": "v", "status": "discarded", "values": {"ranking": {"value": "response2"}}}]}),
    "argilla, a column each": ("Argilla", lambda case: {
        "id": "1", "prompt": case.question, "response_1": case.a, "response_2": case.b,
        "best.responses": [side(case, "response_1", "response_2", "tie")], "best.responses.users": ["u"],
        "best.responses.status": ["submitted"], "best.suggestion": "response_2"}),
    "argilla, of the hub": ("Argilla", lambda case: {
        "prompt": case.question, "response-1": case.a, "response-2": case.b, "preference-suggestion": None,
        "preference": [{"user_id": "u", "value": side(case, "1", "2", "tie"), "status": "submitted"}]}),
    "label-studio": ("Label Studio", lambda case: task(case, {"selected": side(case, "left", "right", "tie")})),
    "label-studio-min": ("Label Studio", lambda case: {
        "id": 1, "prompt": case.question, "answer1": case.a, "answer2": case.b, "annotation_id": 3, "annotator": 1,
        "comparison": side(case, "left", "right", "equal"), "lead_time": 2.5, "created_at": "2026-01-01T00:00:00Z"}),
    "responses and a choice": ("which one was preferred", lambda case: {
        "question": case.question, "answer_a": case.a, "answer_b": case.b, "winner": side(case, "A", "B", "tie")}),
}


def read(records: list[dict[str, Any]], name: str = "data.jsonl") -> list[Row | BadRow]:
    """Rows without their ratings, which are in test_aspect_ratings.py."""
    return [row._replace(ratings=None) if isinstance(row, Row) else row for row in read_rows(as_file(records), name)]


def as_file(records: list[dict[str, Any]]) -> io.BytesIO:
    return io.BytesIO("\n".join(map(json.dumps, records)).encode())


@pytest.mark.parametrize("name", PAIRS)
def test_ten_rows_with_choices_ties_and_a_bad_one(name: str) -> None:
    title, record_of = PAIRS[name]
    records = [record_of(case) for case in CASES]
    form, _, _ = preview(as_file(records), "data.jsonl")
    assert title in form.title
    for case, row in zip(CASES, read(records), strict=True):
        good = expected(case, has_ties=name != "shp")
        if good is None:
            assert isinstance(row, BadRow) and row.number == BAD_CASE and "the same" in row.reason and row.raw
        else:
            assert row == good, case


def summary(case: Case) -> dict[str, Any]:
    return {"info": {"id": "x", "post": case.question, "title": "Birds", "subreddit": "towns", "site": None,
                     "article": None}, "split": "train", "worker": "w", "batch": "batch0", "extra": {"confidence": 5},
            "summaries": [{"text": case.a, "policy": "sup", "note": ""}, {"text": case.b, "policy": "ref", "note": ""}],
            "choice": side(case, 0, 1, 0)}


def test_summaries_are_worded_as_their_paper_does() -> None:
    rows = read([summary(case) for case in CASES])
    for case, row in zip(CASES, rows, strict=True):
        good = expected(case, has_ties=False)
        if good is not None:
            content = f"SUBREDDIT: r/towns\nTITLE: Birds\nPOST: {case.question}\nTL;DR:"
            assert row == good._replace(prompt=[{"role": "user", "content": content}])
        else:
            assert isinstance(row, BadRow) and (row.number, row.reason) == (8, "the two responses are the same")


def steer(prompt: str, response: str, helpfulness: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "correctness": 3, "coherence": 4,
            "complexity": 1, "verbosity": 1}


def test_helpsteer_pairs_neighbours_with_the_same_prompt_by_helpfulness() -> None:
    turns = "Hello<extra_id_1>Assistant\nHi.<extra_id_1>User\nWhich bird?"
    rows = read([
        steer("Which lake?", "Orvane.", 4), steer("Which lake?", "A lake.", 1),
        steer("Which mill?", "The old one.", 2), steer("Which mill?", "Tarsk.", 4), steer("Which mill?", "No.", 0),
        steer("Alone?", "Yes.", 3),
        steer("Who?", "Odo.", 3), steer("Who?", "The miller.", 3),
        steer(turns, "A heron.", 3), steer(turns, " ", 1), steer(turns, "Go.", None), steer(turns, "A duck.", 2),
    ])
    who: Any = [user("Who?")]
    before: Any = [user("Hello"), {"role": "assistant", "content": "Hi."}, user("Which bird?")]
    assert rows == [
        Row([user("Which lake?")], "Orvane.", "A lake."),  # type: ignore[list-item]
        Row([user("Which mill?")], "Tarsk.", "The old one."),  # type: ignore[list-item]
        Row([user("Which mill?")], "Tarsk.", "No."),  # type: ignore[list-item]
        BadRow(6, "no neighbour has the same prompt: a pair needs two responses to it"),
        Row(who, "Odo.", "The miller.", undecided=True),
        BadRow(10, "the response is empty"),
        BadRow(11, "'helpfulness' is 'None', not a number"),
        Row(before, "A heron.", "A duck."),
    ]


def test_several_rated_completions_give_the_best_against_each_other() -> None:
    record = {"instruction": "Which bird?", "completions": [
        rated("A duck.", "3"), rated("A heron.", "5"), rated("", "1"), rated("A grebe.", "5"), rated("Hm.", "N/A"),
        rated("A heron.", "1")]}
    prompt: Any = [user("Which bird?")]
    assert read([record] * 10) == [made for number in range(1, 11) for made in (
        BadRow(number, "completion 3 is empty"), Row(prompt, "A heron.", "A duck."),
        Row(prompt, "A heron.", "A grebe.", True), Row(prompt, "A heron.", "Hm.", True),
        BadRow(number, "completions 2 and 6 are the same"))]


def test_ranked_answers_of_nectar() -> None:
    records = [{"prompt": f"\n\nHuman: {case.question}\n\nAssistant: ", "num_responses": 3, "turns": 1,
                "good_natured": True,
                "answers": [{"answer": case.a, "model": "x", "rank": 2.0},
                            {"answer": "Best.", "model": "y", "rank": 1.0},
                            {"answer": case.b, "model": "z", "rank": 3.0 if case.number != 4 else None}]}
               for case in CASES]
    rows = read(records)
    good = [case for case in CASES if case.number != 4]
    assert [row for row in rows if isinstance(row, Row)] == [
        Row([user(case.question)], "Best.", text.strip())  # type: ignore[list-item]
        for case in good for text in (case.a, case.b)]
    assert [row for row in rows if isinstance(row, BadRow)] == [
        BadRow(4, "the 'rank' of answer 3 is 'None', not a number")]


def message(name: str, parent: str | None, text: str, role: str, rank: float | None = None) -> dict[str, Any]:
    return {"message_id": name, "parent_id": parent, "user_id": "u", "text": text, "role": role, "lang": "en",
            "rank": rank, "deleted": False, "message_tree_id": name[:1], "tree_state": "ready_for_export"}


def test_messages_of_openassistant_one_by_one() -> None:
    rows = read([
        message("a", None, "Hello", "prompter"),
        message("a1", "a", "Hi.", "assistant", 1.0), message("a2", "a", "Good day.", "assistant", 0.0),
        message("a3", "a1", "Which bird?", "prompter"),
        message("a4", "a3", "A heron.", "assistant"), message("a5", "a3", "A duck.", "assistant"),
        message("b", None, "Who?", "prompter"), message("b1", "b", "Me.", "assistant", 0.0),
        message("c", None, "So?", "wizard"), message("c1", "c", "No.", "assistant", 0.0),
    ])
    hello, deep = [user("Hello")], [user("Hello"), {"role": "assistant", "content": "Hi."}, user("Which bird?")]
    assert rows == [
        Row(hello, "Good day.", "Hi."), Row(deep, "A heron.", "A duck.", True),  # type: ignore[arg-type]
        BadRow(9, "a message has the role 'wizard'; known are prompter, assistant"),
        BadRow(10, "its parent 'c' is not among the messages of its tree")]


UNLABELLED = [("response_a", "response_b"), ("response_0", "response_1"), ("Response 1", "Response 2"),
              ("answer_a", "answer_b"), ("completion1", "completion2"), ("output-a", "output-b"),
              ("left_response", "right_response"), ("first answer", "second answer"), ("a", "b"),
              ("model_output_1", "model_output_2")]


@pytest.mark.parametrize("names", UNLABELLED)
def test_two_responses_in_any_spelling_and_no_choice_are_a_pair_without_one(names: tuple[str, str]) -> None:
    records = [{"prompt": case.question, names[0]: case.a, names[1]: case.b, "model_a": "x", "model_b": "y"}
               for case in CASES]
    form, _, _ = preview(as_file(records), "data.jsonl")
    assert form.title == "pairs of responses, and nobody chose"
    for case, row in zip(CASES, read(records), strict=True):
        if case.number == BAD_CASE:
            assert isinstance(row, BadRow) and row.reason == "the two responses are the same"
        else:
            assert row == Row([user(case.question)], case.a, case.b, undecided=True)  # type: ignore[list-item]


def test_more_than_two_responses_and_a_list_of_them_without_a_choice() -> None:
    rows: Any = [Row([user("Who?")], "a", text, True) for text in ("b", "c")]  # type: ignore[list-item]
    assert read([{"prompt": "Who?", "response_1": "a", "response_2": "b", "response_3": "c"}]) == rows
    assert read([{"prompt": "Who?", "responses": ["a", "b", "c"]}]) == rows


def test_a_choice_that_may_mean_either_response_is_not_believed() -> None:
    record = {"prompt": "Who?", "response_1": "a", "response_2": "b", "label": 1}
    assert read([record]) == [Row([user("Who?")], "a", "b", undecided=True)]  # type: ignore[list-item]


def test_pairs_with_a_choice_and_without_one_stand_in_one_file() -> None:
    chosen = {"prompt": "Who?", "chosen": "Odo.", "rejected": "Me."}
    open_pair = {"prompt": "Who?", "response_a": "Odo.", "response_b": "Me."}
    decided = Row([user("Who?")], "Odo.", "Me.")  # type: ignore[list-item]
    undecided = decided._replace(undecided=True)
    assert read([chosen] * 300 + [open_pair]) == [decided] * 300 + [undecided]
    assert read([open_pair] * 300 + [chosen]) == [undecided] * 300 + [decided]
    assert read([open_pair, chosen]) == [undecided, decided]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("helpsteer3", {"overall_preference": 9}, "'overall_preference' is '9', not a number from -3 to 3"),
    ("safe-rlhf", {"better_response_id": 2}, "'better_response_id' is '2', not 0 or 1"),
    ("shp", {"labels": "x"}, "'labels' is 'x', not 1 (A is better) or 0 (B is better)"),
    ("arena", {"winner": "me"}, "'winner' is 'me'; known are model_a"),
    ("arena", {"conversation_a": [user("Who?")] * 2}, "does not end with a reply"),
    ("lmsys", {"winner_tie": 1}, "not exactly one of"),
    ("lmsys", {"prompt": '["a", "b"]'}, "share no prompt"),
    ("ultrafeedback", {"completions": "none"}, "'completions' is text, not a list"),
    ("ultrafeedback", {"completions": [{"response": 3}]}, "completion 1: 'response' is a number, not text"),
    ("label-studio", {"data": {"picture": "x.png"}}, "its data (picture) holds no prompt"),
    ("argilla", {"fields": {"text": "x"}}, "hold no prompt with two responses"),
    ("responses and a choice", {"winner": "nobody knows"}, "'winner' is 'nobody knows': give the name of a response"),
    ("openassistant-trees", {"prompt": {"text": "Who?", "role": "prompter", "replies": []}}, "has two replies"),
]


@pytest.mark.parametrize(("name", "change", "reason"), BAD)
def test_a_bad_row_is_named_with_its_reason_and_the_others_are_read(name: str, change: Any, reason: str) -> None:
    _, record_of = PAIRS[name]
    first, second, third = read([record_of(CASES[0]), record_of(CASES[1]) | change, record_of(CASES[2])])
    assert (first, third) == (expected(CASES[0]), expected(CASES[2]))
    assert isinstance(second, BadRow) and second.number == 2 and reason in second.reason


def test_one_record_becomes_a_bounded_number_of_rows() -> None:
    record = {"prompt": "Who?", "responses": [f"{number}" for number in range(2000)]}
    rows = read([record, {"prompt": "Who?", "responses": ["a", "b"]}])
    assert len(rows) == 502
    assert rows[500] == BadRow(1, "it becomes more than 500 rows: the others are left out")
