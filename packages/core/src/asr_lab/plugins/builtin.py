"""What the core itself registers: it is a plugin like any other."""

from asr_lab.data.config import (
    AMI_CONFIGS,
    ANY_CONFIG,
    ANY_SPLIT,
    COMMON_VOICE_SPLITS,
    CORAAL_CONFIGS,
    COVOST_CONFIGS,
    FLEURS_CONFIGS,
    GIGASPEECH_SPLITS,
    LIBRISPEECH_SPLITS,
    MLS_FOLDERS,
    SPGISPEECH_SPLITS,
    TEST_ONLY,
    VOXPOPULI_CONFIGS,
    WHOLE,
)
from asr_lab.plugins.hooks import hookimpl
from asr_lab.plugins.registry import Registry
from asr_lab.plugins.specs import (
    CommandSpec,
    DatasetSpec,
    PrecisionSpec,
    TokenizerSpec,
    TrackerSpec,
)

DATASETS = (
    DatasetSpec(
        name="spoken",
        summary="numbers, dates, times and commands by many synthetic voices; comes with the core",
        reader="asr_lab.data.spoken:read",
        configs=("en",),
        bundled=True,
    ),
    DatasetSpec(
        name="manifest",
        summary="JSON Lines as NeMo writes them, or a table: .jsonl, .json, .csv, .tsv",
        reader="asr_lab.data.manifests:read",
        splits=WHOLE,
        location="a file with audio and text of one utterance per line",
    ),
    DatasetSpec(
        name="folder",
        summary="audio files with a .txt file beside each",
        reader="asr_lab.data.folder:read",
        splits=WHOLE,
        location="a folder of audio files with a .txt file beside each",
    ),
    DatasetSpec(
        name="kaldi",
        summary="Kaldi data folder: wav.scp and text, with segments and utt2spk if there",
        reader="asr_lab.data.kaldi:read",
        splits=WHOLE,
        location="a folder with wav.scp and text",
    ),
    DatasetSpec(
        name="lhotse",
        summary="lhotse cuts: .jsonl or .jsonl.gz; other forms need the extra lhotse",
        reader="asr_lab.data.lhotse:read",
        splits=WHOLE,
        location="a manifest of cuts",
    ),
    DatasetSpec(
        name="librispeech",
        summary="LibriSpeech: English books, 960 h",
        reader="asr_lab.data.librispeech:read",
        splits=LIBRISPEECH_SPLITS,
        location="the folder that holds train-clean-100, test-clean, …",
    ),
    DatasetSpec(
        name="fleurs",
        summary="FLEURS: the same sentences in 102 languages, about 10 h each",
        reader="asr_lab.data.fleurs:read",
        configs=FLEURS_CONFIGS,
        location="the folder that holds data/LANGUAGE/SPLIT.tsv and audio/SPLIT.tar.gz beside it",
    ),
    DatasetSpec(
        name="common_voice",
        summary="Common Voice: sentences read by volunteers in many languages",
        reader="asr_lab.data.common_voice:read",
        splits=COMMON_VOICE_SPLITS,
        configs=ANY_CONFIG,
        location="the folder that holds LANGUAGE/SPLIT.tsv and LANGUAGE/clips",
    ),
    DatasetSpec(
        name="mls",
        summary="Multilingual LibriSpeech: books in eight languages",
        reader="asr_lab.data.mls:read",
        configs=tuple(MLS_FOLDERS),
        location="the folder that holds mls_german, mls_french, …",
    ),
    DatasetSpec(
        name="voxpopuli",
        summary="VoxPopuli: speeches of the European Parliament in 16 languages",
        reader="asr_lab.data.voxpopuli:read",
        configs=VOXPOPULI_CONFIGS,
        location="the folder that holds LANGUAGE/asr_SPLIT.tsv and LANGUAGE/YEAR",
    ),
    DatasetSpec(
        name="tedlium",
        summary="TED-LIUM 3: English talks, 452 h",
        reader="asr_lab.data.tedlium:read",
        location="the folder that holds TEDLIUM_release-3, or SPLIT/stm and SPLIT/sph",
    ),
    DatasetSpec(
        name="tedlium_long",
        summary="TED-LIUM 3, whole talks",
        reader="asr_lab.data.tedlium:read_talks",
        location="the folder that holds TEDLIUM_release-3, or SPLIT/stm and SPLIT/sph",
    ),
    DatasetSpec(
        name="gigaspeech",
        summary="GigaSpeech: English books, podcasts and videos, 10,000 h",
        reader="asr_lab.data.gigaspeech:read",
        splits=GIGASPEECH_SPLITS,
        location="the folder that holds GigaSpeech.json and audio",
    ),
    DatasetSpec(
        name="spgispeech",
        summary="SPGISpeech: English earnings calls, 5,000 h",
        reader="asr_lab.data.spgispeech:read",
        splits=SPGISPEECH_SPLITS,
        location="the folder that holds SPLIT.csv and SPLIT",
    ),
    DatasetSpec(
        name="ami",
        summary="AMI: English meetings, 100 h, by three kinds of microphone",
        reader="asr_lab.data.ami:read",
        configs=AMI_CONFIGS,
        location="the folder that holds words, segments, corpusResources and amicorpus",
    ),
    DatasetSpec(
        name="earnings21",
        summary="Earnings-21: English earnings calls, 39 h, whole",
        reader="asr_lab.data.earnings:read_21",
        splits=TEST_ONLY,
        location="the folder that holds media and transcripts/nlp_references",
    ),
    DatasetSpec(
        name="earnings22",
        summary="Earnings-22: earnings calls in the Englishes of 27 countries, 119 h, whole",
        reader="asr_lab.data.earnings:read_22",
        splits=TEST_ONLY,
        location="the folder that holds media and transcripts/nlp_references",
    ),
    DatasetSpec(
        name="coraal",
        summary="CORAAL: interviews in African American Language, whole",
        reader="asr_lab.data.coraal:read",
        splits=TEST_ONLY,
        configs=CORAAL_CONFIGS,
        location="the folder that holds COMPONENT with its .wav and .txt files",
    ),
    DatasetSpec(
        name="covost2",
        summary="CoVoST 2: transcripts of Common Voice 4 in 22 languages",
        reader="asr_lab.data.covost:read",
        configs=COVOST_CONFIGS,
        location="the folder that holds LANGUAGE of Common Voice 4, and covost_v2.*.tsv",
    ),
    DatasetSpec(
        name="hf",
        summary="parquet files of the Hugging Face hub, in its cache or in a folder",
        reader="asr_lab.data.hub:read",
        choose="asr_lab.data.hub_files:choose",
        splits=ANY_SPLIT,
        configs=ANY_CONFIG,
        location="ORG/NAME on the hub, or a folder of parquet files",
    ),
)

TOKENIZERS = (
    TokenizerSpec(
        name="characters",
        summary="one token per character of the training text",
        train="asr_lab.tokenizers.base:train_characters",
        load="asr_lab.tokenizers.base:characters_from_bytes",
    ),
    TokenizerSpec(
        name="bpe",
        summary="byte-pair encoding with byte fallback, by sentencepiece",
        train="asr_lab.tokenizers.bpe:train_bpe",
        load="asr_lab.tokenizers.bpe:bpe_from_bytes",
    ),
)

MANAGERS = "asr_lab.precision.manager:"
PRECISIONS = (
    PrecisionSpec(
        name="fp32", summary="IEEE single precision", manager=f"{MANAGERS}PrecisionManager"
    ),
    PrecisionSpec(
        name="tf32", summary="FP32 with short products", manager=f"{MANAGERS}TF32Manager"
    ),
    PrecisionSpec(
        name="bf16", summary="BF16 products, FP32 weights", manager=f"{MANAGERS}BF16Manager"
    ),
    PrecisionSpec(name="fp16", summary="FP16 with loss scaling", manager=f"{MANAGERS}FP16Manager"),
    PrecisionSpec(name="fp8", summary="not in this version", manager=f"{MANAGERS}UnbuiltManager"),
    PrecisionSpec(name="mxfp8", summary="not in this version", manager=f"{MANAGERS}UnbuiltManager"),
    PrecisionSpec(name="mxfp4", summary="not in this version", manager=f"{MANAGERS}UnbuiltManager"),
)

TRACKERS = (
    TrackerSpec(
        name="tensorboard",
        summary="TensorBoard event files in the folder of the run",
        tracker="asr_lab.training.trackers:open_tensorboard",
    ),
)

COMMANDS = (
    CommandSpec(name="train", summary="train a model", run="asr_lab.cli.train:run"),
    CommandSpec(name="resume", summary="go on with a run", run="asr_lab.cli.resume:run"),
    CommandSpec(
        name="evaluate",
        summary="measure the error rate of a checkpoint",
        run="asr_lab.cli.evaluate:run",
    ),
    CommandSpec(
        name="score",
        summary="count the errors of saved hypotheses again",
        run="asr_lab.cli.score:run",
    ),
    CommandSpec(
        name="compare",
        summary="put results side by side and test which differ",
        run="asr_lab.cli.compare:run",
    ),
    CommandSpec(
        name="data", summary="tell what is wrong with a data set", run="asr_lab.cli.data:run"
    ),
    CommandSpec(
        name="verify",
        summary="check the files and the digests of a run, or compare two",
        run="asr_lab.cli.verify:run",
    ),
    CommandSpec(
        name="reproduce",
        summary="replay a run and compare every digest",
        run="asr_lab.cli.reproduce:run",
    ),
    CommandSpec(
        name="bisect",
        summary="find the step, module and operation at which two runs part",
        run="asr_lab.cli.bisect:run",
    ),
    CommandSpec(
        name="transcribe",
        summary="write down what is said in audio files",
        run="asr_lab.cli.transcribe:run",
    ),
    CommandSpec(
        name="import",
        summary="make a checkpoint of another system's model",
        run="asr_lab.cli.importing:run",
    ),
    CommandSpec(
        name="export",
        summary="write a checkpoint as another system's model",
        run="asr_lab.cli.exporting:run",
    ),
    CommandSpec(name="models", summary="list models and presets", run="asr_lab.cli.models:run"),
    CommandSpec(name="datasets", summary="list data sets", run="asr_lab.cli.datasets:run"),
    CommandSpec(
        name="plugins", summary="list plugins and their state", run="asr_lab.cli.plugins:run"
    ),
    CommandSpec(
        name="doctor", summary="show what this machine can do", run="asr_lab.cli.doctor:run"
    ),
    CommandSpec(
        name="check-model",
        summary="run the checks that every model must pass",
        run="asr_lab.cli.check_model:run",
    ),
)


@hookimpl
def asr_lab_register(registry: Registry) -> None:
    """Register the core's data sets, tokenizers, precisions, trackers and commands."""
    for dataset in DATASETS:
        registry.add(dataset)
    for tokenizer in TOKENIZERS:
        registry.add(tokenizer)
    for precision in PRECISIONS:
        registry.add(precision)
    for tracker in TRACKERS:
        registry.add(tracker)
    for command in COMMANDS:
        registry.add(command)
