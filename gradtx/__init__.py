from gradtx import tree
from gradtx.core import *
from gradtx.typing import *
