"""Images that were never photographed: AGIQA-3k, AGIQA-1k, CGIQA-6k (generated, rendered), SIQAD, SCID (screens)."""

import re

from qdebias.data.forms import bare, img_path
from qdebias.data.matlab import Grid
from qdebias.data.table import Entry, LabelFile, Labels, Variant

AGIQA3K = Entry(
    name="agiqa3k",
    title="AGIQA-3k",
    count=2_982,
    parts={"sd1.5": 1_200, "midjourney": 592, "attngan": 300, "glide": 300, "xl2.2": 300, "dalle2": 290},
    scales=((0, 5),),
    pattern=re.compile(r"(?P<subset>[^_]+)_\w+_(?P<group>\d+)\.(?:jpg|png)", re.IGNORECASE),
    labels=(
        Labels(
            variant="official, mos_quality (not mos_align)",
            files=(LabelFile(path="data.csv"),),
            name="name",
            score="mos_quality",
        ),
        *img_path("agi.json", "AGIQA-3K.json", "agiqa3k.json", "qbench_agi.json"),
    ),
    images=(("database",), ("images",), ("image",), ("AGIQA-3K",), ("",)),
    tops=("AGIQA-3K", "AGIQA-3K-Database", "AGIQA3K"),
    source="https://github.com/lcysyzxdxc/AGIQA-3k-Database",
    licence="MIT",
    citation="C. Li et al., AGIQA-3K: an open database for AI-generated image quality assessment, IEEE Transactions on "
    "Circuits and Systems for Video Technology, 2023",
)

AGIQA1K = Entry(
    name="agiqa1k",
    title="AGIQA-1k",
    count=1_079,
    scales=((0, 5),),
    pattern=re.compile(r"(?P<subset>deepai|dreamStudio)_(?P<group>\d+_\d+_\d+_\d*)\.(?:jpg|png)", re.IGNORECASE),
    labels=(
        Labels(
            variant="official z-scores",
            files=(LabelFile(path="AIGC_MOS_Zscore.xlsx"),),
            name="Image",
            score="MOS",
        ),
        Labels(
            variant="official raw means (r = 0.84 to the z-scores)",
            files=(LabelFile(path="AIGC_all.csv"),),
            name="Image",
            score="Score",
            count=1_080,
        ),
        *img_path("AGIQA-1k.json", "agiqa1k.json"),
    ),
    images=(("file",), ("images",), ("",)),
    tops=("AGIQA-1K", "AGIQA-1K-Database"),
    averaged=("dreamStudio_8_9_1_1.jpg",),
    notes=("1,080 images are published, but the z-scores list one of them twice and one not at all.",),
    source="https://github.com/lcysyzxdxc/AGIQA-1k-Database",
    licence="MIT",
    citation="Z. Zhang et al., A perceptual quality assessment exploration for AIGC images, ICME Workshops 2023",
)

CGIQA6K = Entry(
    name="cgiqa6k",
    title="CGIQA-6k",
    count=6_000,
    parts={"game": 3_000, "movie": 3_000},
    scales=((0, 5),),
    pattern=re.compile(r"(?P<subset>game|movie)_\d+\.(?:jpg|png)", re.IGNORECASE),
    labels=(
        Labels(variant="official", files=(LabelFile(path="mos.csv"),), name="Image", score="MOS"),
        *img_path("cgi.json", "qbench_cgi.json"),
    ),
    images=(("database",), ("images",), ("",)),
    tops=("CGIQA6K", "CGIQA-6K"),
    notes=("Published correlations are the mean of those of the two halves, games and movies.",),
    source="https://github.com/zzc-1998/CGIQA6K",
    citation="Z. Zhang et al., Subjective and objective quality assessment for in-the-wild computer graphics images, "
    "ACM Transactions on Multimedia Computing, Communications, and Applications, 2023",
)

SIQAD = Entry(
    name="siqad",
    title="SIQAD",
    count=980,
    parts=dict.fromkeys(("gn", "gb", "mb", "cc", "jpeg", "jpeg2000", "lsc"), 140),
    direction="lower",
    scales=((0, 100),),
    pattern=re.compile(r"(?P<reference>cim\d+)_(?P<subset>[1-7])_[1-7]\.bmp", re.IGNORECASE),
    subsets=dict(zip("1234567", ("gn", "gb", "mb", "cc", "jpeg", "jpeg2000", "lsc"), strict=True)),
    labels=(
        bare("sccdmos.txt", "text of scores and names", "score", "name", delimiter=None),
        Labels(
            variant="DMOS_SIQAD.mat",
            files=(LabelFile(path="DMOS_SIQAD.mat"),),
            name="name",
            score="score",
            reader=Grid(name="cim{reference}_{distortion}_{level}.bmp", references=20, distortions=7, levels=7),
        ),
        Labels(
            variant="columns dist_name and dmos",
            files=(LabelFile(path="siqad_dmos*.csv"),),
            name="dist_name",
            score="dmos",
        ),
        Labels(
            variant="DFSS-IQA's JSON",
            files=(LabelFile(path="*siqad_all_train_0.json"),),
            name="img",
            score="score",
        ),
        *img_path("siqad.json"),
        *img_path("siqad.json", scales=((-100, 0),), direction="higher"),
    ),
    images=(("DistortedImages",), ("",)),
    tops=("SIQAD",),
    variants=(
        Variant(
            name="the values of DFSS-IQA",
            scores={"cim3_2_2.bmp": 66.0244, "cim3_7_2.bmp": 56.0856, "cim4_5_1.bmp": 51.5322, "cim4_5_3.bmp": 44.7682},
        ),
        Variant(
            name="the values of the Shenzhen University copy",
            scores={"cim3_2_2.bmp": 60.0244, "cim3_7_2.bmp": 48.0856, "cim4_5_1.bmp": 47.5322, "cim4_5_3.bmp": 54.7682},
        ),
    ),
    notes=(
        "Two versions of the DMOS circulate; 74 of 980 values differ, by up to 20 (SRCC 0.984 between them), and which "
        "is the official one is not known. label_variant says which this is.",
    ),
    source="the page of the article's authors (the labels circulate as DMOS_SIQAD.mat and as sccdmos.txt)",
    citation="H. Yang, Y. Fang and W. Lin, Perceptual quality assessment of screen content images, IEEE Transactions "
    "on Image Processing 24(11), 2015",
)

SCID = Entry(
    name="scid",
    title="SCID",
    count=1_800,
    scales=((0, 100),),
    pattern=re.compile(r"(?P<reference>SCI\d\d)_(?P<subset>\d)_\d\.bmp", re.IGNORECASE),
    labels=(
        Labels(
            variant="DMOS_SCID.mat (a MOS in spite of its name)",
            files=(LabelFile(path="DMOS_SCID.mat"),),
            name="name",
            score="score",
            reader=Grid(name="SCI{reference:02d}_{distortion}_{level}.bmp", references=40, distortions=9, levels=5),
        ),
        Labels(
            variant="columns dist_name and mos",
            files=(LabelFile(path="scid_mos.csv"),),
            name="dist_name",
            score="mos",
        ),
    ),
    images=(("DistortedSCIs",), ("DistortedImages",), ("",)),
    tops=("SCID",),
    notes=("The .mat calls its variable DMOS, but higher is better.",),
    source="the page of the article's authors",
    citation="Z. Ni, L. Ma, H. Zeng, J. Chen, C. Cai and K.-K. Ma, ESIM: edge similarity for screen content image "
    "quality assessment, IEEE Transactions on Image Processing 26(10), 2017",
)
