# The installation of `make setup`, in an image: one lock file, the same two pip commands. It serves as the service and as the Ray
# head, because search drivers, trials and replicas import this project wherever Ray places them. The broker is a service of its own.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1

# A named volume takes the owner of the folder that it is first mounted on.
RUN useradd --uid 1000 --create-home orchestrator \
    && install --directory --owner orchestrator --mode 700 /app/data /home/orchestrator/.ray
WORKDIR /src

# Dependencies change seldom and the source often, hence two layers.
COPY requirements/lock.txt requirements/lock.txt
RUN python -m pip install --quiet --no-deps --require-hashes --requirement requirements/lock.txt

COPY pyproject.toml README.md ./
COPY schemas schemas
COPY orchestrator orchestrator
COPY serving serving
COPY streams streams
RUN python -m pip install --quiet --no-deps --no-build-isolation .

WORKDIR /app
USER orchestrator
EXPOSE 8000 8100
CMD ["orchestrator", "up"]
