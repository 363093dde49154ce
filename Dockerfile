# The service with the embedded model, on a CPU, as a user without rights.
#
#   docker build -t qdebias .
#   docker run --rm -p 127.0.0.1:8765:8765 -e QDEBIAS_SERVE_KEYS=SIXTEEN_LETTERS_OR_MORE --read-only --tmpfs /tmp \
#       --cap-drop ALL --security-opt no-new-privileges qdebias
FROM python:3.12-slim
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch>=2.8,<2.16"
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN pip install --no-cache-dir "/source[serve,torch]" && rm -r /source && useradd --create-home --uid 10001 qdebias
USER 10001
ENV NUMBA_CACHE_DIR=/tmp MPLCONFIGDIR=/tmp PYTHONDONTWRITEBYTECODE=1
EXPOSE 8765
STOPSIGNAL SIGTERM
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8765/healthz')"]
ENTRYPOINT ["qdebias", "serve", "--host", "0.0.0.0"]
CMD ["--model", "nano"]
