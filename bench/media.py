"""The stream that the RTMP benchmarks publish: what OBS sends for 720p30, made once by ffmpeg."""

import subprocess
from pathlib import Path

BUILT = Path(__file__).parents[1] / "build" / "bench"


def flv(seconds: int = 60) -> Path:
    """1280x720p30 H.264 High, 2.5 Mbit/s constant, IDR every 2 s, no B-frames; AAC-LC 48 kHz 128 kbit/s."""
    path = BUILT / f"720p30-{seconds}s.flv"
    if not path.exists():
        BUILT.mkdir(parents=True, exist_ok=True)
        video = "-c:v libx264 -preset veryfast -profile:v high -bf 0 -g 60 -keyint_min 60 -sc_threshold 0 -b:v 2500k -minrate 2500k"
        video += " -maxrate 2500k -bufsize 2500k -pix_fmt yuv420p -x264-params nal-hrd=cbr"
        # Noise over the test picture: a constant rate then holds frames of the sizes that a camera gives.
        source = f"testsrc2=size=1280x720:rate=30:duration={seconds},noise=alls=12:allf=t"
        command = [
            "ffmpeg",
            "-v",
            "error",
            "-y",
            "-f",
            "lavfi",
            "-i",
            source,
            "-f",
            "lavfi",
            "-i",
            f"sine=440:sample_rate=48000:duration={seconds}",
        ]
        part = path.with_suffix(".part")
        subprocess.run([*command, *video.split(), "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-f", "flv", str(part)], check=True)
        part.rename(path)
    return path
