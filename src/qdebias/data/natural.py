"""Photographs as people take them: LIVE Challenge, KonIQ-10k, SPAQ, BIQ2021, FLIVE."""

import re

from qdebias.data.forms import bare, img_path, liqe, pyiqa, waterloo
from qdebias.data.matlab import read_livec
from qdebias.data.table import Annex, Entry, LabelFile, Labels

LIVEC = Entry(
    name="livec",
    title="LIVE In the Wild Image Quality Challenge",
    count=1_169,
    parts={"training": 7, "main": 1_162},
    scales=((0, 100),),
    pattern=re.compile(r"(?P<subset>t?)\d+\.(?:bmp|jpg)", re.IGNORECASE),
    subsets={"t": "training", "": "main"},
    labels=(
        Labels(
            variant="official .mat",
            files=(LabelFile(path="AllMOS_release.mat"),),
            name="name",
            score="score",
            reader=read_livec,
        ),
        pyiqa("meta_info_LIVEChallengeDataset.csv", "img_name", "mos"),
        *img_path("livec.json", "qbench_livec.json"),
        liqe("clive_all_clip.txt", "as LIQE lists them: without the 7 training images", scales=((0, 100),)),
        waterloo("LIVE_Challenge.txt"),
    ),
    images=(("Images", "Images/trainingImages"), ("", "trainingImages")),
    tops=("ChallengeDB_release", "LIVEC"),
    notes=(
        "With the 7 training images, as the labels list them; without them (subset 'main') SRCC of 15 models moved by "
        "at most 0.002.",
    ),
    source="https://live.ece.utexas.edu/research/ChallengeDB (request form)",
    licence="free to use, copy, modify and distribute with the notice of UT Austin and the citation",
    citation="D. Ghadiyaram and A. C. Bovik, Massive online crowdsourced study of subjective and objective picture "
    "quality, IEEE Transactions on Image Processing 25(1), 2016",
)

KONIQ10K = Entry(
    name="koniq10k",
    title="KonIQ-10k",
    count=10_073,
    parts={"train": 7_058, "val": 1_000, "test": 2_015},
    scales=((1, 5), (0, 100)),  # both official files call the column MOS
    pattern=re.compile(r"\d+\.jpg", re.IGNORECASE),
    labels=(
        Labels(
            variant="official, with the official splits: z-scores on 0 to 100",
            files=(LabelFile(path="koniq10k_distributions_sets.csv"),),
            name="image_name",
            score="MOS",
            split="set",
        ),
        Labels(
            variant="official: mean opinion on 1 to 5",
            files=(LabelFile(path="koniq10k_scores_and_distributions.csv"),),
            name="image_name",
            score="MOS",
        ),
        pyiqa("meta_info_KonIQ10kDataset.csv", "img_name", "mos", split="split"),
        *img_path("koniq.json", "qbench_koniq.json", "test_koniq.json"),
        liqe("koniq10k_all_clip.txt", "as LIQE lists them: mean opinion on 1 to 5", scales=((1, 5),)),
        bare("*koniq10k_label.txt", "as MANIQA lists them: mean opinion on 1 to 5", "name", "score", delimiter="\t"),
    ),
    images=(("1024x768",), ("512x384",), ("images",), ("",)),
    tops=("koniq10k", "koniq-10k", "koniq"),
    notes=(
        "Mean opinions on 1 to 5 and z-scores on 0 to 100 rank the images a little differently (SRCC 0.992 between "
        "them); Q-Bench's published numbers use the former.",
    ),
    source="https://database.mmsp-kn.de/koniq-10k-database.html",
    licence="labels: see the source; photographs from YFCC100M, each under its own licence",
    citation="V. Hosu, H. Lin, T. Sziranyi and D. Saupe, KonIQ-10k: an ecologically valid database for deep learning "
    "of blind image quality assessment, IEEE Transactions on Image Processing 29, 2020",
)

_SCENES = (
    "Animal",
    "Cityscape",
    "Human",
    "Indoor scene",
    "Landscape",
    "Night scene",
    "Plant",
    "Still-life",
    "Others",
)

SPAQ = Entry(
    name="spaq",
    title="SPAQ",
    count=11_125,
    scales=((0, 100),),
    pattern=re.compile(r"\d{5}\.(?:jpg|png)", re.IGNORECASE),
    labels=(
        *(
            Labels(
                variant="official",
                files=(LabelFile(path=file),),
                name="Image name",
                score="MOS",
                scenes=_SCENES,
                annexes=(Annex(path="Scene category labels.xlsx", name="Image name"),),
            )
            for file in (
                "MOS and Image attribute scores.xlsx",
                "MOS Std and Image attribute scores.xlsx",
                "MOS and Image attribute scores.csv",
                "meta_info_SPAQDataset.csv",
            )
        ),
        *img_path("spaq.json", "qbench_spaq.json", "test_spaq.json"),
    ),
    images=(("TestImage",), ("Dataset/TestImage",), ("images",), ("",)),
    tops=("SPAQ",),
    notes=(
        "Photographs of up to 12 megapixels: degradations of absolute size, such as spatter, weigh less on them unless "
        "max_side is set.",
    ),
    source="https://github.com/h4nwei/SPAQ",
    citation="Y. Fang, H. Zhu, Y. Zeng, K. Ma and Z. Wang, Perceptual quality assessment of smartphone photography, "
    "CVPR 2020",
)

BIQ2021 = Entry(
    name="biq2021",
    title="BIQ2021",
    count=12_000,
    parts={"train": 10_000, "test": 2_000, "ss01": 2_000, "ss02": 2_000, "ss03": 8_000},
    scales=((0, 1),),
    pattern=re.compile(r"(?P<subset>ss0[123]) ?\(\d+\)\.jpe?g", re.IGNORECASE),
    labels=(
        Labels(
            variant="official",
            files=(
                LabelFile(path="Train (Images and MOS).csv", split="train"),
                LabelFile(path="Test (Images and MOS).csv", split="test"),
            ),
            name="Image Name",
            score="MOS",
        ),
        waterloo("BIQ2021.txt"),
    ),
    images=(("Images",), ("",)),
    tops=("BIQ2021",),
    notes=(
        "The three subsets have different sources and mean scores (0.42, 0.49, 0.74), so report each of them too: "
        "telling the sources apart already correlates with the scores.",
    ),
    source="https://github.com/nisarahmedrana/BIQ2021",
    licence="no licence file; the article says freely available for use and benchmarking",
    citation="N. Ahmed and S. Asif, BIQ2021: a large-scale blind image quality assessment database, Journal of "
    "Electronic Imaging 31(5), 2022",
)

FLIVE = Entry(
    name="flive",
    title="LIVE-FB (PaQ-2-PiQ)",
    count=39_810,
    parts={"test": 1_827},
    scales=((0, 100),),
    pattern=re.compile(r"(?P<subset>voc_emotic_ava|blur_dataset|EE371R)/.+", re.IGNORECASE),
    depth=2,
    labels=(
        Labels(
            variant="official",
            files=(LabelFile(path="labels_image.csv"),),
            name="name",
            score="mos",
            annexes=(Annex(path="labels640.csv", name="name_image", split="test"),),
        ),
        Labels(
            variant="official test list",
            files=(LabelFile(path="labels640.csv", split="test"),),
            name="name_image",
            score="mos_image",
        ),
    ),
    images=(("database",), ("",)),
    tops=("FLIVE_Database",),
    source="https://github.com/niu-haoran/FLIVE_Database",
    citation="Z. Ying, H. Niu, P. Gupta, D. Mahajan, D. Ghadiyaram and A. Bovik, From patches to pictures (PaQ-2-PiQ): "
    "mapping the perceptual space of picture quality, CVPR 2020",
)
