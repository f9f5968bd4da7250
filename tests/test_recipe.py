"""Recipes: every section and override, and one line for whatever is wrong."""

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from textvae.overrides import VERBATIM
from textvae.recipe import Recipe, load_recipe, make_recipe
from textvae.training.arguments import TextVAETrainingArguments
from textvae.training.section import RANGES

CONFIGS = sorted(Path(__file__).parents[1].glob("configs/*.yaml"))
BASE = {"tokenizer": {"kind": "word"}}


def make(*overrides, **sections) -> Recipe:
    return make_recipe({**BASE, **sections}, list(overrides), Path("runs/x"))


def error(*overrides, **sections) -> str:
    """What making a recipe says: one line."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - callers compare the message
        make(*overrides, **sections)
    assert type(caught.value) is ValueError
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    return str(caught.value)


# ---- Recipes that are shipped ----


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_recipes_load_and_say_nothing_that_is_not_known(path, monkeypatch, tmp_path):
    recipe = load_recipe(path)
    assert recipe.output_dir == Path("runs") / path.stem
    assert sum(stage["max_steps"] for stage in recipe.training.get("stages", [recipe.training])) > 0
    monkeypatch.chdir(tmp_path)
    assert load_recipe(path.stem) == recipe


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_resolved_recipe_loads_to_the_same_one(path, tmp_path):
    recipe = load_recipe(path, ["data.source=other.txt", "training.learning_rate=1e-4"])
    saved = tmp_path / "textvae.yaml"
    saved.write_text(recipe.to_yaml(), encoding="utf-8")
    again = load_recipe(saved)
    assert dataclasses.replace(again, output_dir=recipe.output_dir) == recipe
    assert again.to_yaml() == recipe.to_yaml()


def test_a_resolved_recipe_with_every_sort_of_value(tmp_path):
    recipe = make(
        "training.num_train_epochs=2",
        "training.report_to=[tensorboard]",
        "training.lr_scheduler_kwargs={num_cycles: 1}",
        "training.eval_strategy=no",
        "training.debug=[underflow_overflow]",
        "model.decoder.inject=[output]",
        "model.latent.size=0",
        "objective.beta=0",
        "generation.min_p=0.1",
        "data.label_column=山",
    )
    assert make_recipe(yaml.safe_load(recipe.to_yaml()), [], recipe.output_dir) == recipe
    assert yaml.safe_load(recipe.to_yaml())["data"]["label_column"] == "山"


def test_secrets_are_not_saved():
    assert "hf_secret" not in make("training.hub_token=hf_secret").to_yaml()


# ---- Overrides ----


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.source=a.txt", "a.txt"),
        ("data.unit=paragraph", "paragraph"),
        ("data.max_length=7", 7),
        ("data.max_length=null", None),
        ("data.max_length=", None),
        ("tokenizer.vocab_size=100", 100),
        ("model.encoder.hidden_size=8", 8),
        ("model.encoder.bidirectional=false", False),
        ("model.latent.size=0", 0),
        ("model.decoder.dropout=1e-1", 0.1),
        ("model.decoder.inject=[output, concat]", ("output", "concat")),
        ("objective.free_bits=1e-3", 0.001),
        ("objective.free_bits_per=dimension", "dimension"),
        ("objective.beta.schedule=cyclical", "cyclical"),
        ("objective.beta.max=5e-1", 0.5),
        ("training.learning_rate=1e-3", 0.001),
        ("training.max_steps=12", 12),
        ("training.bf16=null", None),
        ("training.eval_strategy=no", "no"),
        ("training.eval_steps=0.25", 0.25),
        ("training.report_to=tensorboard", "tensorboard"),
        ("training.run_name=2024-01-01", "2024-01-01"),
        ("generation.top_p=0.5", 0.5),
    ],
)
def test_overrides_of_every_section(override, value):
    place = make(override)
    for part in override.partition("=")[0].split("."):
        place = place[part] if isinstance(place, dict) else getattr(place, part)
    assert place == value
    assert type(place) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a b #c", "a b #c"),
        ("no", "no"),
        ("12", "12"),
        ("1e5", "1e5"),
        ("[a].txt", "[a].txt"),
        ("a: b", "a: b"),
        ("a=b", "a=b"),
        ("'12'", "12"),
        ("山 水.txt", "山 水.txt"),
    ],
)
@pytest.mark.parametrize("key", ["source", "text_column", "label_column", "revision"])
def test_names_are_taken_as_they_are(key, text, value):
    assert getattr(make(f"data.{key}={text}").data, key) == value
    assert f"data.{key}" in VERBATIM


def test_the_last_override_wins():
    assert make("data.seed=1", "data.seed=2").data.seed == 2
    recipe = make("objective.beta=0.5", "objective.beta.min=0.1")
    assert recipe.objective["beta"] == {"schedule": "constant", "warmup": 0.3, "min": 0.1, "max": 0.5, "cycles": 4}
    assert make("objective.beta.min=0.1", "objective.beta=0.5").objective["beta"]["min"] == 0


@pytest.mark.parametrize("short", [0.5, "5e-1", {"schedule": "constant", "max": 0.5}])
def test_short_form_of_beta(short):
    assert make(objective={"beta": short}) == make("objective.beta=0.5")


@pytest.mark.parametrize("short", ["gaussian", {"kind": "gaussian"}, {}])
def test_short_form_of_a_posterior(short):
    assert make(model={"latent": {"posterior": short}}) == make()
    assert make("model.latent.posterior.kind=gaussian", model={"latent": {"posterior": short}}) == make()


def test_overrides_leave_what_was_passed_alone():
    values = {"tokenizer": {"kind": "word"}, "objective": {"beta": {"max": 1.0}}}
    before = json.dumps(values)
    make_recipe(values, ["objective.beta.max=0.5", "output_dir=o", "data.seed=1"], Path("x"))
    assert json.dumps(values) == before


@pytest.mark.parametrize(
    ("overrides", "sections", "expected"),
    [
        ([], {}, "runs/x"),
        (["output_dir=some where"], {}, "some where"),
        (["output_dir=12"], {}, "12"),
        ([], {"output_dir": "a"}, "a"),
        (["output_dir=b"], {"output_dir": "a"}, "b"),
        (["output_dir="], {"output_dir": "a"}, "runs/x"),
    ],
)
def test_output_dir(overrides, sections, expected):
    assert make(*overrides, **sections).output_dir == Path(expected)


@pytest.mark.parametrize("section", ["data", "model", "objective", "training", "generation"])
def test_empty_sections_are_defaults(section):
    assert make(**{section: None}) == make(**{section: {}}) == make()


# ---- The label column ----


@pytest.mark.parametrize(
    ("overrides", "optional"),
    [
        ([], False),
        (["data.source=x.txt"], True),
        (["data.label_column=topic"], False),
        (["data.source=x.txt", "data.label_column=topic"], False),
        (["data.label_column=topic", "data.source=x.txt"], False),
        (["data.label_column=topic", "data.label_is_optional=true"], True),
    ],
)
def test_a_label_column_named_for_another_corpus_is_optional(overrides, optional):
    data = {"source": "a.jsonl", "label_column": "label"}
    recipe = make(*overrides, data=data)
    assert recipe.data.label_is_optional is optional
    # So it stays in the saved recipe, until the column is named.
    saved = yaml.safe_load(recipe.to_yaml())
    assert make_recipe(saved, [], Path("x")).data.label_is_optional is optional
    assert make_recipe(saved, ["data.source=y.txt"], Path("x")).data.label_is_optional is True
    assert make_recipe(saved, ["data.label_column=topic"], Path("x")).data.label_is_optional is False


# ---- What is wrong ----


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "dat.source=x",
            "dat: unknown section; did you mean 'data'? known: data, generation, model, objective, output_dir",
        ),
        ("foo=1", "foo: unknown section; known: data, "),
        ("data.sorce=x", "data.sorce: unknown key; did you mean 'source'? known: augment, config, "),
        ("tokenizer.knd=x", "tokenizer.knd: unknown key; did you mean 'kind'? known: kind, min_frequency, "),
        ("model.encodr.kind=x", "model.encodr: unknown key; did you mean 'encoder'? known: decoder, encoder, latent"),
        ("model.encoder.cel=x", "model.encoder.cel: unknown key; did you mean 'cell'? known: bidirectional, "),
        ("model.latent.sise=3", "model.latent.sise: unknown key; did you mean 'size'? known: posterior, prior, size"),
        ("model.decoder.drop_out=0", "model.decoder.drop_out: unknown key; did you mean 'dropout'? known: "),
        ("objective.freebits=3", "objective.freebits: unknown key; did you mean 'free_bits'? known: beta, "),
        ("objective.beta.maxx=3", "objective.beta.maxx: unknown key; did you mean 'max'? known: cycles, max, min, "),
        (
            "training.learning_rat=1",
            "training.learning_rat: unknown key; did you mean 'learning_rate'? known: learning_",
        ),
        (
            "training.warmup_ratio=1",
            "training.warmup_ratio: unknown key; did you mean 'warmup_steps'? known: warmup_ste",
        ),
        ("training.output_dir=x", "training.output_dir: unknown key; "),
        ("generation.topp=1", "generation.topp: unknown key; did you mean 'top_p'? known: do_sample, "),
        ("data.source.x=1", "data.source: {'x': 1} is not allowed; input should be a valid string"),
        ("data..x=1", "data.: unknown key; known: "),
        ("a\nb.c=1", "a b: unknown section; known: "),
    ],
)
def test_unknown_names(override, expected):
    assert error(override).startswith(expected)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.unit=word", "'word' is not allowed; input should be 'line', 'paragraph' or 'document'"),
        ("data.max_length=0", "0 is not allowed; input should be greater than or equal to 1"),
        (
            "data.max_length=abc",
            "'abc' is not allowed; input should be a valid integer, unable to parse string as an in",
        ),
        ("data.max_length=true", "True is not allowed; input should be a number"),
        ("data.source=", "None is not allowed; input should be a valid string"),
        ("data.source=''", "'' is not allowed; string should have at least 1 character"),
        ("data.validation_size=0.5", "0.5 is not allowed; input should be less than 0.5"),
        ("data.seed=-1", "-1 is not allowed; input should be greater than or equal to 0"),
        ("tokenizer.kind=wrd", "'wrd' is not allowed; input should be 'word', 'char', 'bpe', "),
        ("tokenizer.vocab_size=1", "1 is not allowed; input should be greater than or equal to "),
        ("model.encoder.hidden_size=0", "0 is not allowed; input should be greater than or equal to 1"),
        ("model.encoder.cell=rnn", "'rnn' is not allowed; input should be 'gru' or 'lstm'"),
        ("model.latent.size=-1", "-1 is not allowed; input should be greater than or equal to 0"),
        (
            "model.latent.size=2.5",
            "2.5 is not allowed; input should be a valid integer, got a number with a fractional ",
        ),
        ("model.latent=5", "5 is not a mapping of keys to values"),
        ("model.decoder.dropout=1.5", "1.5 is not allowed; input should be less than 1"),
        ("model.decoder.dropout=.nan", "nan is not allowed; input should be a finite number"),
        ("model.decoder.inject=initial", "'initial' is not allowed; input should be a list"),
        ("model.decoder.inject=[]", "[] is not allowed; name at least one of "),
        ("objective.free_bits=-1", "-1 is not allowed; input should be greater than or equal to 0"),
        ("objective.free_bits=.inf", "inf is not allowed; input should be a finite number"),
        ("objective.free_bits.x=3", "{'x': 3} is not allowed; input should be a valid number"),
        ("objective.beta=linear", "'linear' is not allowed; input should be a mapping of keys to values"),
        ("objective.beta.warmup=1.5", "1.5 is not allowed; input should be less than or equal to 1"),
        ("objective.beta.schedule=linar", "'linar' is not allowed; input should be 'constant', 'linear', "),
        ("training.max_steps=0", "0 is not allowed; input should be greater than 0"),
        ("training.max_steps=-1", "-1 is not allowed; input should be greater than 0"),
        ("training.max_steps=many", "'many' is not allowed; input should be a valid integer"),
        ("training.max_steps=[[", "'[[' is not allowed; input should be a valid integer"),
        ("training.learning_rate=-1", "-1 is not allowed; input should be greater than 0"),
        ("training.learning_rate=.inf", "inf is not allowed; input should be a finite number"),
        ("training.eval_steps=0", "0 is not allowed; input should be greater than 0"),
        ("training.eval_steps=-3", "-3 is not allowed; input should be greater than 0"),
        ("training.eval_strategy=step", "'step' is not allowed; input should be 'no', 'steps' or 'epoch'"),
        ("training.lr_scheduler_type=cosin", "'cosin' is not allowed; input should be 'linear', 'cosine', "),
        ("training.optim=adam", "'adam' is not allowed; input should be 'adamw_torch', 'adamw_torch_fused', "),
        ("training.bf16=maybe", "'maybe' is not allowed; input should be a valid boolean"),
        ("training.seed=true", "True is not allowed; input should be a number"),
        ("training.ema_decay=1", "1 is not allowed; input should be less than 1"),
        ("generation.top_p=0", "0 is not allowed; input should be greater than 0"),
        ("generation.num_beams=0", "0 is not allowed; input should be greater than or equal to 1"),
    ],
)
def test_values_that_are_not_allowed(override, expected):
    key, _, _ = override.partition("=")
    key = key.removesuffix(".x")
    assert error(override).startswith(f"{key}: {expected}")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "model.encoder.kind=recurent",
            "model.encoder.kind: unknown encoder 'recurent'; did you mean 'recurrent'? known: ",
        ),
        ("model.decoder=recurent", "model.decoder.kind: unknown decoder 'recurent'; did you mean 'recurrent'? known: "),
        (
            "model.latent.posterior=gausian",
            "model.latent.posterior.kind: unknown posterior 'gausian'; did you mean 'gau",
        ),
        ("model.latent.prior.kind=x", "model.latent.prior.kind: unknown prior 'x'; known: "),
        ("model.latent.posterior.x=1", "model.latent.posterior.x: unknown key; known: "),
        ("objective.kind=vae", "objective.kind: unknown objective 'vae'; did you mean 'infovae'? known: adv"),
        ("tokenizer.kind=pretrained", "tokenizer: kind pretrained needs path"),
        ("training.eval_steps=1.5", "training: --eval_steps must be an integer if bigger than 1: 1.5"),
        ("training.report_to=foo", "training: foo is not supported, only "),
        ("training.report_to=wandb", "training: WandbCallback requires wandb to be installed"),
        ("training.seed=5000000000", "training.seed: 5000000000 is not allowed; input should be less than 4294967296"),
        ("tokenizer={kind: bpe, vocab_size: 200}", "tokenizer: vocab_size 200 is too small for kind bpe, "),
        ("training.accelerator_config=nofile.json", "training: [Errno 2] No such file or directory: 'nofile.json'"),
        ("=5", "'=5': an override reads section.key=value, for instance training.max_steps=500"),
        ("training.max_steps", "'training.max_steps': an override reads section.key=value, for instance "),
    ],
)
def test_parts_and_combinations(override, expected):
    assert error(override).startswith(expected)


PRETRAINED = {"kind": "pretrained", "name": "some/model"}


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"data": 5}, "data: 5 is not a mapping of keys to values"),
        ({"data": [1]}, "data: [1] is not a mapping of keys to values"),
        ({"model": {"encoder": 0}}, "model.encoder: 0 is not a mapping of keys to values"),
        ({"data": {3: 4}}, "data.3: unknown key; known: "),
        ({"output_dir": 5}, "output_dir: 5 is not the name of a folder"),
        ({"data": {"source": None}}, "data.source: None is not allowed; input should be a valid string"),
        ({"training": {"max_steps": "x" * 1000}}, "training.max_steps: 'xxx"),
        ({"model": {"decoder": PRETRAINED | {"inject": []}}}, "model.decoder.inject: [] is not allowed; name at least"),
        (
            {"model": {"decoder": PRETRAINED | {"beside": 5}}},
            "model.decoder.beside: 5 is not allowed; input should be a mapping",
        ),
        ({"model": {"decoder": PRETRAINED | {"beside": {"cel": "gru"}}}}, "model.decoder.beside.cel: unknown key; did"),
        (
            {"data": {"augment": {"replace": 0.1}}, "model": {"encoder": PRETRAINED}},
            "data.augment: not with a pretrained encoder",
        ),
        ({"data": {"augment": {"splice": 1.5}}}, "data.augment.splice: 1.5 is not allowed; "),
        (
            {"data": {"noise": {"drop": 0.1}}, "model": {"encoder": PRETRAINED | {"beside": {}}}},
            "data.noise: not with model.encoder.beside",
        ),
        (
            {"training": {"stages": [{"predicts": "text_without_backbone", "max_steps": 3}, {"max_steps": 3}]}},
            "training.stages: 1: predicts: text_without_backbone needs model.decoder.beside",
        ),
    ],
)
def test_wrong_types_in_the_file(sections, expected):
    assert error(**sections).startswith(expected)


def test_a_key_below_a_number():
    assert error("data.seed.x=1", data={"seed": 3}) == "data.seed.x: data.seed is 3, which has no keys"


# ---- Training ----


@pytest.mark.parametrize(
    ("overrides", "training", "expected"),
    [
        ([], {}, {}),
        ([], {"max_steps": 5}, {"max_steps": 5}),
        ([], {"num_train_epochs": 2}, {"num_train_epochs": 2.0, "max_steps": -1}),
        (["training.num_train_epochs=2"], {"max_steps": 5}, {"num_train_epochs": 2.0, "max_steps": -1}),
        (["training.max_steps=5"], {"num_train_epochs": 2}, {"max_steps": 5}),
        ([], {"num_train_epochs": 2, "max_steps": -1}, {"num_train_epochs": 2.0, "max_steps": -1}),
        (["training.stages=[{max_steps: 7}]"], {"max_steps": 5}, {"stages": [{"max_steps": 7}]}),
    ],
)
def test_steps_or_epochs(overrides, training, expected):
    assert make(*overrides, training=training).training == expected


def test_steps_and_epochs():
    message = "training.num_train_epochs: no effect beside max_steps 5; give one of them"
    assert error(training={"num_train_epochs": 2, "max_steps": 5}) == message
    assert "no effect beside training.stages" in error("training={max_steps: 5}", "training.stages=[{max_steps: 7}]")


def test_ranges_are_those_of_fields_that_exist():
    fields = {field.name for field in dataclasses.fields(TextVAETrainingArguments)}
    assert RANGES.keys() <= fields


def test_every_training_argument_can_be_set_to_its_default():
    defaults = {field.name: field.default for field in dataclasses.fields(TextVAETrainingArguments) if field.init}
    values = {name: value for name, value in defaults.items() if type(value) in (int, float, bool, str)}
    del values["num_train_epochs"]  # max_steps is there
    assert len(values) > 60
    assert make(training=values).training == values


@pytest.mark.parametrize("word", [False, "no"])
def test_the_word_no_is_a_word_where_words_are_wanted(word):
    """YAML reads no as false."""
    recipe = make(training={"eval_strategy": word, "save_strategy": word})
    assert recipe.training == {"eval_strategy": "no", "save_strategy": "no"}


# ---- Files ----


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", ": the file is empty; wanted a mapping with sections data, tokenizer, model, "),
        (b"# nothing\n", ": the file is empty; wanted"),
        (b"- a\n- b\n", ": a list is no recipe; wanted"),
        (b"text\n", ": a str is no recipe; wanted"),
        (b"data: {source: a\ntokenizer: {}\n", ", line 2: broken YAML: "),
        (b"data:\n  source: a\n bad: b\n", ", line 3: broken YAML: "),
        (b"data:\n\tsource: a\n", ", line 2: broken YAML: found character '\\t' that cannot start any token"),
        (b"data: *x\n", ", line 1: broken YAML: found undefined alias 'x'"),
        (b"data: {source: caf\xe9}\n", ", line 1: not UTF-8 (byte 0xe9)"),
        (b"a: b\n\xff\n", ", line 2: not UTF-8 (byte 0xff)"),
        (b"data: \x00\n", ": broken YAML: "),
        (b"data: {seed: 2024-13-45}\n", ": broken YAML: month must be in 1..12"),
        (b"data: " + b"[" * 2000, ": broken YAML: "),
        (b"data: !!python/object:os.system {}\n", ", line 1: broken YAML: could not determine a constructor"),
    ],
)
def test_broken_files(tmp_path, content, expected):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}{expected}")
    assert "\n" not in str(caught.value)


def test_a_file_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xef\xbb\xbftokenizer: {kind: word}\r\n")
    assert load_recipe(path).tokenizer.kind == "word"
    assert load_recipe(str(path), ["output_dir=o"]).output_dir == Path("o")


def test_a_missing_file(tmp_path, monkeypatch):
    (tmp_path / "recipe.yaml").touch()
    for name, expected in [
        (tmp_path / "recip.yaml", "recip.yaml; did you mean 'recipe.yaml'? known: recipe.yaml"),
        (tmp_path / "none" / "recipe.yaml", "none/recipe.yaml; known: none"),
        ("ptb_lstm_lst", "ptb_lstm_lst; did you mean 'ptb_lstm_lstm'? known: "),
        (tmp_path, f"no such recipe: {tmp_path}"),
        ("", "no such recipe: "),
    ]:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
            load_recipe(name)
        assert expected in str(caught.value)


def test_recipes_of_the_working_folder_come_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/ptb_lstm_lstm.yaml").write_text("tokenizer: {kind: char}")
    assert load_recipe("ptb_lstm_lstm").tokenizer.kind == "char"


# ---- A recipe on top of another ----


@pytest.fixture
def base(tmp_path):
    """Writes base.yaml and a recipe on top of it; gives the latter's path."""
    (tmp_path / "base.yaml").write_text(
        "data: {source: 'sample:headlines'}\n"
        "model: {decoder: {kind: recurrent, hidden_size: 33, dropout: 0.2}, latent: {size: 5}}\n"
        "objective: {free_bits: 3.0}\n"
        "training: {max_steps: 7, seed: 3}\n"
    )

    def write(text, name="top"):
        (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path / f"{name}.yaml"

    return write


def test_a_recipe_says_only_what_differs_from_its_base(base):
    recipe = load_recipe(base("base: base.yaml\nmodel: {decoder: {dropout: 0.4}}\ntraining: {seed: 4}\n"))
    decoder = recipe.model["decoder"]
    assert (decoder["hidden_size"], decoder["dropout"], recipe.model["latent"]["size"]) == (33, 0.4, 5)
    assert recipe.training == {"max_steps": 7, "seed": 4}
    assert recipe.objective["free_bits"] == 3.0
    assert recipe.output_dir == Path("runs/top")


def test_another_kind_stands_for_itself(base):
    recipe = load_recipe(base("base: base.yaml\nobjective: {kind: adversarial}\nmodel: {decoder: {kind: transformer}}"))
    assert "free_bits" not in recipe.objective
    assert "hidden_size" in recipe.model["decoder"]
    assert recipe.model["decoder"]["hidden_size"] != 33


def test_overrides_come_after_the_base(base):
    assert load_recipe(base("base: base.yaml"), ["model.decoder.dropout=0.1"]).model["decoder"]["dropout"] == 0.1


def test_a_resolved_recipe_has_no_base(base):
    assert "base" not in yaml.safe_load(load_recipe(base("base: base.yaml")).to_yaml())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: bas.yaml", "top.yaml: base: no such recipe: .*bas.yaml; did you mean 'base.yaml'"),
        ("base: 3", "top.yaml: base: no such recipe"),
        ("base: [a]", "top.yaml: base: no such recipe"),
        ("base: middle.yaml", "top.yaml: base: .*middle.yaml has a base itself"),
    ],
)
def test_a_wrong_base_is_named(base, text, message):
    base("base: base.yaml", "middle")
    with pytest.raises(ValueError, match=message):
        load_recipe(base(text))


def test_the_recipes_of_remedies_share_the_model_of_their_base():
    plain = load_recipe("ptb_lstm_lstm")
    remedies = [path for path in CONFIGS if path.stem.startswith("ptb_lstm_lstm_")]
    assert len(remedies) >= 7
    for path in remedies:
        model = load_recipe(path).model
        model["latent"]["posterior"]["batch_norm"] = None  # a remedy, alone or beside another
        assert model == plain.model, path.stem


def test_another_kind_of_a_part_stands_for_itself():
    """Keys of the old kind go, and what is said of the new one counts wherever it stands."""
    given = {"encoder": {"kind": "recurrent", "cell": "lstm"}, "decoder": {"kind": "recurrent", "dropout": 0.3}}
    recipe = make("model.encoder.hidden_size=48", "model.encoder.kind=transformer", model=given)
    assert recipe.model["encoder"]["kind"] == "transformer"
    assert recipe.model["encoder"]["hidden_size"] == 48
    assert recipe.model["decoder"]["dropout"] == 0.3
    assert make("model.encoder.kind=recurrent", model=given).model["encoder"]["cell"] == "lstm"
    whole = make("model.encoder={hidden_size: 64}", "model.encoder.kind=transformer", model=given).model["encoder"]
    assert (whole["kind"], whole["hidden_size"]) == ("transformer", 64)
    assert make("model.encoder=recurrent", "model.encoder.kind=transformer").model["encoder"]["kind"] == "transformer"
    assert error("kind=transformer").startswith("kind: unknown section")
    assert make("tokenizer.kind=char", tokenizer={"kind": "word", "min_frequency": 3}).tokenizer.min_frequency == 3


@pytest.mark.parametrize("source", ["texts.txt", "tex*.txt", "."])
def test_a_local_source_is_saved_so_that_it_is_found_from_everywhere(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("a")
    saved = yaml.safe_load(make(f"data.source={source}").to_yaml())["data"]["source"]
    assert saved == str(tmp_path / source)


@pytest.mark.parametrize("source", ["sample:headlines", "user/name"])
def test_another_source_is_saved_as_it_is(source):
    assert yaml.safe_load(make(f"data.source={source}").to_yaml())["data"]["source"] == source


DETERMINISTIC = {"latent": {"posterior": "deterministic"}}


@pytest.mark.parametrize(
    ("objective", "model", "reason"),
    [
        (
            "{kind: iwae}",
            DETERMINISTIC,
            "iwae does not go with deterministic posterior and standard prior: a ",
        ),
        ("{kind: target_rate}", DETERMINISTIC, "target_rate does not go with deterministic posterior"),
        ("{kind: infovae, alpha: 0.5}", DETERMINISTIC, "infovae does not go with deterministic posterior"),
        (
            "{kind: adversarial}",
            {"latent": {"prior": "mixture"}},
            "adversarial does not go with gaussian posterior",
        ),
        (
            "{kind: infovae}",
            {"latent": {"prior": "mixture"}},
            "infovae does not go with gaussian posterior and mixture prior: it gives a learned prior no rate",
        ),
        (
            "{kind: target_rate}",
            {"latent": {"posterior": "vmf", "prior": "uniform"}},
            "target_rate does not go with vmf posterior and uniform prior: its rate is a constant",
        ),
        ("{beta: 0}", {"latent": {"prior": "mixture"}}, "elbo does not go with gaussian posterior and mixture prior"),
    ],
)
def test_what_an_objective_cannot_train_is_refused(objective, model, reason):
    assert error(f"objective={objective}", model=model).startswith(f"objective: {reason}")
    stage = f"{{max_steps: 2, objective: {objective}}}"
    assert error(f"training.stages=[{stage}, {stage}]", model=model).startswith(f"training.stages: 1: {reason}")
    assert make(f"objective={objective}", model={"latent": model["latent"] | {"size": 0}}).model["latent"]["size"] == 0


def test_a_learned_prior_needs_one_stage_that_trains_it():
    """An autoencoder first leaves it as it is; what needs a rate needs it in every stage."""
    stages = "training.stages=[{max_steps: 2, objective: %s}, {max_steps: 2}]"
    assert make(stages % "{beta: 0}", model={"latent": {"prior": "mixture"}}).training["stages"]
    assert error(stages % "{kind: iwae}", model=DETERMINISTIC).startswith("training.stages: 1: iwae does not go with")


@pytest.mark.parametrize("objective", ["{kind: infovae}", "{kind: adversarial}", "{beta: 0}"])
def test_objectives_that_match_samples_go_with_points(objective):
    assert make(f"objective={objective}", model=DETERMINISTIC)


@pytest.mark.parametrize(
    "schedule",
    ["lr_scheduler_type=cosine_with_min_lr", "lr_scheduler_type=warmup_stable_decay", "lr_scheduler_kwargs={foo: 1}"],
)
def test_a_schedule_that_cannot_be_made_is_refused(schedule):
    with pytest.raises(ValueError, match=r"^training: .*(min_lr|num_decay_steps|foo)"):
        make(f"training.{schedule}")


def test_a_schedule_with_arguments_of_its_own():
    make("training.lr_scheduler_type=cosine_with_min_lr", "training.lr_scheduler_kwargs={min_lr: 1.0e-5}")
    make("training.lr_scheduler_type=warmup_stable_decay", "training.lr_scheduler_kwargs={num_decay_steps: 10}")
