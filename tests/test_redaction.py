"""Redaction: what is masked, what is left alone, and what a setting may not say."""

import json
import random
import time
from collections import Counter

import pytest

from flywheel.errors import BadSetting
from flywheel.redaction import RULES, Redactor
from flywheel.redaction.rules import Rules, is_iban, is_luhn
from flywheel.settings import PrivacySettings

ALL = list(RULES)


def redactor(**settings: object) -> Redactor:
    return Redactor.of(PrivacySettings.model_validate(settings))


def masked(text: str, *rules: str) -> str:
    return redactor(rules=list(rules or ALL)).rules_only(text)


# Rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to anna.b+x@mail.example.org.", "write to <EMAIL_ADDRESS>."),
        ("почта анна@пример.рф да", "почта <EMAIL_ADDRESS> да"),
        ("+49 170 1234567", "<PHONE_NUMBER>"),
        ("call (555) 123-4567 or 555-123-4567", "call <PHONE_NUMBER> or <PHONE_NUMBER>"),
        ("030 / 1234 5678, please", "<PHONE_NUMBER>, please"),
        ("4111 1111 1111 1111", "<CREDIT_CARD>"),
        ("4111-1111-1111-1111 2026", "<CREDIT_CARD> 2026"),
        ("DE89 3704 0044 0532 0130 00 C-1", "<IBAN_CODE> C-1"),
        ("it is GB29NWBK60161331926819 ok", "it is <IBAN_CODE> ok"),
        ("from 10.0.0.1 and fe80::1", "from <IP_ADDRESS> and <IP_ADDRESS>"),
        ("123-45-6789", "<US_SSN>"),
        ("sk-proj-abcdefghijklmnopqrst", "<API_KEY>"),
        ("ghp_" + "a1" * 18, "<API_KEY>"),
        ("postgres://me:hunter2@db/x", "postgres://<PASSWORD>@db/x"),
    ],
)
def test_a_rule_masks_what_it_is_for(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("12:30:45", "2026-03-02 10:00:00", "version 1.2.3", "order 1234567890123456"),
        *("a@b", "4111 1111 1111 1112", "::", "1.2"),
        *("std::vector", "room 030", "5551234", "https://example.org/a:b", "999.1.1.1"),
    ],
)
def test_a_rule_leaves_alone_what_only_looks_like_it(text: str) -> None:
    assert masked(text) == text


def test_a_number_is_confirmed_by_its_check_digits() -> None:
    # 7992739871 with the check digit 3, and two zeros before it.
    assert is_luhn("0079927398713")
    assert not is_luhn("0079927398710")
    assert is_iban("GB82 WEST 1234 5698 7654 32")
    assert not is_iban("GB82 WEST 1234 5698 7654 33")


def test_an_own_pattern_has_the_name_of_its_mask() -> None:
    rules = ["CUSTOMER_NO=C-[0-9]{6}"]
    assert masked("é C-123456 and C-12", *rules) == "é <CUSTOMER_NO> and C-12"


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("emial", "did you mean 'email'?"),
        ("C-[0-9]{6}", "a pattern of your own is written with the name of its mask"),
        ("X=(", "cannot be used"),
        ("X=(?=a)a", "without look-around"),
        ("X=a*", "matches an empty text"),
        ("X=" + "a" * 2000, "more than 1,000 characters"),
        ("X=((a{0,100}){0,100}){0,100}b", "cannot be used"),
    ],
)
def test_a_rule_that_cannot_be_run_is_refused_in_one_sentence(rule: str, why: str) -> None:
    with pytest.raises(BadSetting) as refused:
        redactor(rules=[rule])
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


def test_no_rule_is_slow_on_a_hostile_text() -> None:
    """Time with the square of a text would take minutes here; in proportion it takes tenths."""
    rules = Rules.of([*ALL, "X=(a+)+b"])
    pieces = ["eyJ-", "eyJaaaaaaaa.", "+1", "+1 ", "00", "a@", "a.", "1", "1 ", "1.", "ab:"]
    pieces += ["aa12", "://a:", "(0", "0 1", "anna@a.", "a-", "555-", "sk-", "DE89"]
    started = time.thread_time()
    for piece in pieces:
        rules.mask([(piece * 40_000)[:40_000] + "!"], Counter())
    assert time.thread_time() - started < 60


# Documents


def test_otlp_attributes_are_masked_and_ids_are_not() -> None:
    span = {
        "traceId": "4111111111111111aaaaaaaaaaaaaaaa",
        "spanId": "4111111111111111",
        "startTimeUnixNano": "4111111111111111",
        "name": "mail anna@example.org",
        "attributes": [
            {"key": "input.value", "value": {"stringValue": "I am anna@example.org"}},
            {"key": "user.id", "value": {"stringValue": "anna@example.org"}},
            {"key": "llm.token_count", "value": {"intValue": "4111111111111111"}},
            {"key": "tags", "value": {"arrayValue": {"values": [{"stringValue": "10.0.0.1"}]}}},
        ],
    }
    before = json.dumps(span)
    after = redactor(rules=ALL).rules_only(span)
    assert json.dumps(span) == before
    shown = json.dumps(after)
    assert shown.count("anna@example.org") == 1
    assert after["attributes"][1]["value"] == {"stringValue": "anna@example.org"}
    assert after["attributes"][3]["value"]["arrayValue"]["values"] == [
        {"stringValue": "<IP_ADDRESS>"}
    ]
    for name in ("traceId", "spanId", "startTimeUnixNano"):
        assert after[name] == span[name]
    assert after["attributes"][2] == span["attributes"][2]


def test_json_inside_of_a_string_stays_json() -> None:
    said = [{"role": "user", "content": "hello\nanna@example.org\tbye"}]
    nested = json.dumps({"messages": json.dumps(said)})
    after = json.loads(redactor(rules=["email"]).rules_only({"input": nested})["input"])
    (message,) = json.loads(after["messages"])
    assert message["content"] == "hello\n<EMAIL_ADDRESS>\tbye"


def test_json_inside_of_a_string_is_untouched_where_nothing_is_found() -> None:
    document = {"input": '{"a":   [1, 2.50,  "x"]}'}
    assert redactor(rules=ALL).rules_only(document) == document


def test_a_field_is_masked_dropped_or_left_alone_by_the_first_glob_that_fits() -> None:
    made = redactor(
        rules=["email"],
        fields={"metadata.support": "off", "user.email": "mask", "metadata.*": "drop"},
    )
    document = {
        "metadata": {"support": "help@example.org", "tier": "gold"},
        "user": {"email": "anna@example.org"},
        "attributes": [
            {"key": "user.email", "value": {"stringValue": "anna@example.org"}},
            {"key": "metadata.city", "value": {"stringValue": "Ulm"}},
            {
                "key": "other",
                "value": {
                    "kvlistValue": {
                        "values": [{"key": "user.email", "value": {"stringValue": "x"}}]
                    }
                },
            },
        ],
        "input": json.dumps({"user": {"email": "anna"}, "kept": 1}),
    }
    mask = {"key": "user.email", "value": {"stringValue": "<USER_EMAIL>"}}
    assert made.rules_only(document) == {
        "metadata": {"support": "help@example.org"},
        "user": {"email": "<USER_EMAIL>"},
        "attributes": [mask, {"key": "other", "value": {"kvlistValue": {"values": [mask]}}}],
        "input": '{"user": {"email": "<USER_EMAIL>"}, "kept": 1}',
    }
    assert made.counts()["<METADATA_TIER>"] == 1


def test_an_id_of_a_person_is_dropped_and_never_one_mask_for_all() -> None:
    made = redactor(fields={"user_id": "mask", "user.id": "mask"})
    document = {
        "user_id": "anna",
        "attributes": [{"key": "user.id", "value": {"stringValue": "anna"}}],
    }
    assert made.rules_only(document) == {"attributes": []}


def test_a_field_rule_for_everything_is_refused() -> None:
    with pytest.raises(BadSetting, match="would drop every field"):
        redactor(fields={"*": "drop"})


def test_keys_are_masked_too_and_none_is_lost() -> None:
    document = {"anna@example.org": 1, "bob@example.org": 2}
    after = redactor(rules=["email"]).rules_only(document)
    assert after == {"<EMAIL_ADDRESS>": 1, "<EMAIL_ADDRESS>_2": 2}


def test_what_is_off_changes_nothing() -> None:
    document = {"a": "anna@example.org"}
    made = redactor()
    assert made.is_off
    assert made.rules_only(document) is document
    assert made.whole(document) is document


def test_it_counts_what_it_masks() -> None:
    made = redactor(rules=["email", "ip"], fields={"secret": "drop"})
    made.rules_only({"a": "x@example.org y@example.org 10.0.0.1", "secret": 1})
    assert made.counts() == {"<SECRET>": 1, "EMAIL_ADDRESS": 2, "IP_ADDRESS": 1}


def test_whatever_the_document_no_address_is_left_and_its_shape_is_kept() -> None:
    chance = random.Random(7)
    made = redactor(rules=["email", "card"])
    for _ in range(300):
        document = _made_up(chance, 5)
        after = made.rules_only(document)
        assert "@example" not in json.dumps(after)
        assert _shape(after) == _shape(document)
        assert made.rules_only(after) == after


def _made_up(chance: random.Random, depth: int) -> object:
    kind = chance.choice(
        ["text", "number", "list", "object", "attribute", "json"][: 6 if depth else 2]
    )
    if kind == "text":
        return chance.choice(["anna@example.org", "a\nb@example.com\\", "", "plain \u2028", '"'])
    if kind == "number":
        return chance.choice([1, 2.5, None, True])
    inner = [_made_up(chance, depth - 1) for _ in range(chance.randrange(4))]
    if kind == "list":
        return inner
    if kind == "json":
        return json.dumps(inner)
    if kind == "attribute":
        return [{"key": f"k{i}", "value": {"stringValue": "c@example.org"}} for i in range(2)]
    return {f"key {i}": value for i, value in enumerate(inner)}


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return {key: _shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_shape(part) for part in value]
    if isinstance(value, str) and value[:1] == "[":
        return _shape(json.loads(value))
    return type(value).__name__


# Entities


def test_presidio_masks_what_a_rule_does_not_know() -> None:
    made = redactor(entities=["CRYPTO", "EMAIL_ADDRESS", "PHONE_NUMBER"], regions=["DE"])
    assert made.needs_whole
    document = {"user_id": "anna@example.org", "a": "anna@example.org, 030 12345678"}
    assert made.rules_only(document) == document
    assert made.whole(document) == {
        "user_id": "anna@example.org",
        "a": "<EMAIL_ADDRESS>, <PHONE_NUMBER>",
    }
    wallet = "send it to 16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ"
    assert made.whole(wallet) == "send it to <CRYPTO>"


def test_an_entity_that_takes_a_model_or_is_none_is_refused() -> None:
    with pytest.raises(BadSetting, match="did you mean 'US_SSN'"):
        redactor(entities=["US_SSM"])
    with pytest.raises(BadSetting, match="'PERSON' is not found without a model"):
        redactor(entities=["PERSON"])
    with pytest.raises(BadSetting, match="in the language 'en'"):
        redactor(entities=["DE_TAX_ID"])
    assert redactor(entities=["DE_TAX_ID"], language="de").needs_whole


def test_without_presidio_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "presidio_analyzer", None)
    with pytest.raises(BadSetting, match=r"flywheel-loop\[privacy\]"):
        redactor(entities=["EMAIL_ADDRESS"])
