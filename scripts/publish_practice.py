"""Find by how much the intervals of a few published runs have to be widened, and store it for the forecast.

python -m scripts.publish_practice
"""

from extrapolate.validation import publish_trials

if __name__ == "__main__":
    publish_trials()
