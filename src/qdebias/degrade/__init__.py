"""Degradations that make conditional images: worse in quality, the same in content (section 3.2.1 of the paper)."""

from qdebias.degrade.base import Degradation as Degradation
from qdebias.degrade.base import Rng as Rng
from qdebias.degrade.base import draws_noise as draws_noise
from qdebias.degrade.base import kind_of as kind_of
from qdebias.degrade.base import noise_rng as noise_rng
from qdebias.degrade.fog import Fog as Fog
from qdebias.degrade.imagenet_c import DEGRADATIONS as DEGRADATIONS
from qdebias.degrade.imagenet_c import Brightness as Brightness
from qdebias.degrade.imagenet_c import Contrast as Contrast
from qdebias.degrade.imagenet_c import GaussianBlur as GaussianBlur
from qdebias.degrade.imagenet_c import GaussianNoise as GaussianNoise
from qdebias.degrade.imagenet_c import Jpeg as Jpeg
from qdebias.degrade.imagenet_c import Pixelate as Pixelate
from qdebias.degrade.imagenet_c import degradation_named as degradation_named
from qdebias.degrade.imagenet_c import imagenet_c as imagenet_c
from qdebias.degrade.imagenet_c import name_of as name_of
from qdebias.degrade.saturate import Saturate as Saturate
from qdebias.degrade.spatter import Mud as Mud
from qdebias.degrade.spatter import Spatter as Spatter
from qdebias.degrade.spatter import Water as Water
from qdebias.degrade.zoom_blur import ZoomBlur as ZoomBlur
