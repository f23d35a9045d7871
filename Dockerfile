# docker build -t hawker . && docker run -p 8080:8080 -p 8443:8443 -p 1935:1935 -p 1936:1936 -p 8189:8189/udp -p 8189:8189/tcp -p 8890:8890/udp -v hawker:/data hawker
# Browsers outside must reach the UDP port: give the machine's address with
#   -e 'HAWKER_WEBRTC__PUBLIC_ADDRESSES=["203.0.113.7"]'
# The av wheel in this image holds FFmpeg with x264 and x265 (GPL): see NOTICE before you pass it on.

FROM node:22-slim AS web
WORKDIR /web
COPY overlay/web/package.json overlay/web/package-lock.json overlay/web/.npmrc ./
RUN npm ci --ignore-scripts

FROM python:3.12-slim AS build
RUN python -m venv /opt/hawker
WORKDIR /src
COPY . .
COPY --from=web /web/node_modules overlay/web/node_modules
RUN /opt/hawker/bin/pip install --no-cache-dir --prefer-binary .

FROM python:3.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libsrt1.5-openssl \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /data hawker \
    && install --directory --owner hawker --group hawker --mode 700 /data
COPY --from=build /opt/hawker /opt/hawker
ENV PATH=/opt/hawker/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HAWKER_DATA__DIR=/data
USER hawker
WORKDIR /data
VOLUME /data
# http, https, RTMP, WebRTC media, SRT
EXPOSE 8080/tcp 8443/tcp 1935/tcp 1936/tcp 8189/udp 8189/tcp 8890/udp
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=2)"]
ENTRYPOINT ["hawker"]
CMD ["serve"]
