# `alld serve` on CPUs, without CUDA and without root. Research use only.
#
#     docker build --tag alld .
#
# compose.yaml runs it. Any other command: docker run --rm alld --help

FROM python:3.12-slim AS build
ENV PATH=/opt/alld/bin:$PATH
WORKDIR /source
COPY constraints.txt .
# As scripts/bootstrap.py --cpu does: from PyTorch's index these two, all else from the registry.
RUN python -m venv /opt/alld \
    && pip install --no-cache-dir --constraint constraints.txt --no-deps \
        --index-url https://download.pytorch.org/whl/cpu torch torchvision
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt '.[onnx]'

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 alld
COPY --from=build /opt/alld /opt/alld
ENV PATH=/opt/alld/bin:$PATH
WORKDIR /home/alld
# By number, so that an orchestrator sees that it is not root.
USER 10001
EXPOSE 8000
# Until the model is loaded the status is 503.
HEALTHCHECK --interval=30s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-c", "from http.client import HTTPConnection as C; c = C('127.0.0.1', 8000, timeout=4); c.request('GET', '/health'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["alld"]
# Others can reach it: it starts with a token only, in ALLD_TOKEN.
CMD ["serve", "--host", "0.0.0.0", "--model", "/model"]
