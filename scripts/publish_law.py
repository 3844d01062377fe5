"""Fit and calibrate the loss law of the published runs, and store it for the forecast.

python -m scripts.publish_law
"""

from extrapolate.loss import publish

if __name__ == "__main__":
    publish()
