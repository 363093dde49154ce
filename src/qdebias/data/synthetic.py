"""Photographs distorted on purpose: KADID-10k, TID2013, CSIQ, LIVE, PIPAL."""

import re

from qdebias.data.forms import bare, img_path, liqe, pyiqa, waterloo
from qdebias.data.matlab import LiveMatrix, read_csiq_workbook
from qdebias.data.readers import Delimited
from qdebias.data.table import Entry, LabelFile, Labels

KADID10K = Entry(
    name="kadid10k",
    title="KADID-10k",
    count=10_125,
    scales=((1, 5),),
    pattern=re.compile(r"(?P<reference>I\d\d)_(?P<subset>\d\d)_\d\d\.png", re.IGNORECASE),
    labels=(
        Labels(
            variant="official",
            files=(LabelFile(path="dmos.csv"),),
            name="dist_img",
            score="dmos",
        ),
        pyiqa("meta_info_KADID10kDataset.csv", "dist_name", "dmos"),
        *img_path("kadid.json", "qbench_kadid.json", "test_kadid.json"),
        bare("*kadid10k_label.txt", "as MANIQA lists them", "name", "score"),
    ),
    images=(("images",), ("",)),
    tops=("kadid10k",),
    notes=("The column is called dmos, but higher is better: it is a mean opinion on 1 to 5.",),
    source="https://database.mmsp-kn.de/kadid-10k-database.html",
    licence="labels: see the source; reference photographs from Pixabay",
    citation="H. Lin, V. Hosu and D. Saupe, KADID-10k: a large-scale artificially distorted IQA database, QoMEX 2019",
)

TID2013 = Entry(
    name="tid2013",
    title="TID2013",
    count=3_000,
    scales=((0, 9),),
    pattern=re.compile(r"(?P<reference>I\d\d)_(?P<subset>\d\d)_\d\.bmp", re.IGNORECASE),
    labels=(
        bare("mos_with_names.txt", "official", "score", "name", delimiter=None),
        pyiqa("meta_info_TID2013Dataset.csv", "dist_name", "mos"),
        *img_path("tid2013.json"),
        waterloo("TID2013.txt"),
    ),
    images=(("distorted_images",), ("",)),
    tops=("tid2013",),
    source="http://www.ponomarenko.info/tid2013.htm",
    citation="N. Ponomarenko et al., Image database TID2013: peculiarities, results and perspectives, Signal "
    "Processing: Image Communication 30, 2015",
)

_CSIQ_FOLDERS = ("AWGN", "BLUR", "contrast", "fnoise", "JPEG", "jpeg2000")

CSIQ = Entry(
    name="csiq",
    title="CSIQ",
    count=866,
    parts={"awgn": 150, "blur": 150, "jpeg": 150, "jpeg2000": 150, "fnoise": 150, "contrast": 116},
    direction="lower",
    scales=((0, 1),),
    pattern=re.compile(
        r"(?P<reference>[^.]+)\.(?P<subset>awgn|blur|jpeg|jpeg2000|fnoise|contrast)\.\d\.png", re.IGNORECASE
    ),
    labels=(
        Labels(
            variant="official",
            files=(LabelFile(path="csiq.DMOS.xlsx"),),
            name="name",
            score="score",
            reader=read_csiq_workbook,
        ),
        bare("csiq_label.txt", "official values", "name", "score", delimiter=None),
        pyiqa("meta_info_CSIQDataset.csv", "dist_name", "dmos"),
        *img_path("csiq.json"),
        liqe("csiq_all_clip.txt", "as LIQE lists them: 1 - DMOS", scales=((0, 1),)),
        waterloo("CSIQ.txt"),
    ),
    images=(tuple(f"dst_imgs/{kind}" for kind in _CSIQ_FOLDERS), ("dst_imgs_all",), ("dst_imgs",), ("",)),
    tops=("CSIQ",),
    source="https://s2.smu.edu/~eclarson/csiq.html",
    citation="E. C. Larson and D. M. Chandler, Most apparent distortion: full-reference image quality assessment and "
    "the role of strategy, Journal of Electronic Imaging 19(1), 2010",
)

LIVE = Entry(
    name="live",
    title="LIVE release 2",
    count=779,
    parts={"jp2k": 169, "jpeg": 175, "wn": 145, "gblur": 145, "fastfading": 145},
    direction="lower",
    scales=((-5, 115),),
    pattern=re.compile(r"(?P<subset>jp2k|jpeg|wn|gblur|fastfading)/img\d+\.bmp", re.IGNORECASE),
    depth=2,
    labels=(
        Labels(
            variant="official, realigned DMOS",
            files=(LabelFile(path="dmos_realigned.mat"),),
            name="name",
            score="score",
            reference="reference",
            reader=LiveMatrix(variable="dmos_new"),
        ),
        Labels(
            variant="official, DMOS before realignment",
            files=(LabelFile(path="dmos.mat"),),
            name="name",
            score="score",
            reference="reference",
            reader=LiveMatrix(variable="dmos"),
        ),
        Labels(
            variant="DMOS before realignment, as IQA-PyTorch's meta_info lists them (column mos, but lower is better)",
            files=(LabelFile(path="meta_info_LIVEIQADataset.csv"),),
            name="dist_name",
            score="mos",
            reference="ref_name",
        ),
        liqe("live_all_clip.txt", "as LIQE lists them: highest realigned DMOS - DMOS", scales=((0, 115),)),
        waterloo("LIVE.txt"),
    ),
    images=(("",),),
    tops=("databaserelease2", "LIVE"),
    notes=("DMOS before and after realignment correlate by 0.947 only; label_variant says which this is.",),
    source="https://live.ece.utexas.edu/research/quality/subjective.htm",
    licence="free to use, copy, modify and distribute with the notice of UT Austin and the citation",
    citation="H. R. Sheikh, M. F. Sabir and A. C. Bovik, A statistical evaluation of recent full reference image "
    "quality assessment algorithms, IEEE Transactions on Image Processing 15(11), 2006",
)

_ELO = Delimited(columns=("name", "score"))

PIPAL = Entry(
    name="pipal",
    title="PIPAL",
    count=24_200,
    parts={"train": 23_200, "val": 1_000},
    scales=((800, 2000),),
    pattern=re.compile(r"(?P<reference>A\d{4})_(?P<subset>\d\d)_\d\d\.(?:bmp|png)", re.IGNORECASE),
    labels=(
        Labels(
            variant="official Elo scores",
            files=(LabelFile(path="Train_Label/*.txt", split="train"), LabelFile(path="Val_Label/*.txt", split="val")),
            name="name",
            score="score",
            reader=_ELO,
        ),
        Labels(
            variant="Elo scores, as MANIQA lists them",
            files=(
                LabelFile(path="*pipal22_train.txt", split="train"),
                LabelFile(path="*pipal21_val.txt", split="val"),
            ),
            name="name",
            score="score",
            reader=_ELO,
        ),
        Labels(
            variant="Elo scores, as IQA-PyTorch's meta_info lists them",
            files=(LabelFile(path="meta_info_PIPALDataset.csv", split="train"),),
            name="dist_name",
            score="elo_score",
        ),
        *img_path("pipal.json", scales=((0, 1),)),
    ),
    images=(
        (*(f"Distortion_{part}" for part in range(1, 5)), "Val_Dist"),
        (*(f"Distortion_{part}/Distortion_{part}" for part in range(1, 5)), "Val_Dist"),
        ("Train_Dist", "Val_Dist"),
        ("Dist_Imgs",),
        ("",),
    ),
    tops=("PIPAL",),
    notes=("Most copies hold the training part only: subset 'train'.",),
    source="https://github.com/HaomingCai/PIPAL-dataset",
    citation="J. Gu et al., PIPAL: a large-scale image quality assessment dataset for perceptual image restoration, "
    "ECCV 2020",
)
