from charloom.api import Model as Model
from charloom.api import load as load
from charloom.api import resume as resume
from charloom.api import train as train
from charloom.config import DataConfig as DataConfig
from charloom.config import EnsembleConfig as EnsembleConfig
from charloom.config import ModelConfig as ModelConfig
from charloom.config import NgramConfig as NgramConfig
from charloom.config import RunConfig as RunConfig
from charloom.config import SampleConfig as SampleConfig
from charloom.config import TrainConfig as TrainConfig
from charloom.config import TransformerConfig as TransformerConfig
from charloom.config import WatchConfig as WatchConfig
from charloom.data.vocabulary import Vocabulary as Vocabulary
from charloom.errors import CharloomError as CharloomError
from charloom.evaluation import Score as Score
from charloom.models.engines import create_learner as create_learner
from charloom.runs.open import open_model as open_model
from charloom.runs.run import Run as Run

__version__: str
