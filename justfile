# Habits of development; `just --list` shows them. Needs https://just.systems.

# Everything CI runs.
ci:
    .ci/run

# Format, lint with warnings as errors, test.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo test --workspace

# The smallest whole run, twice: the second time every step is fresh.
smoke:
    cargo run -- run pipelines/smoke.toml
    cargo run -- run pipelines/smoke.toml

# The main job on synthesized faces.
verify:
    cargo run --release -- run pipelines/verify.toml

# Kill the runner at many random instants and compare the end with a clean run.
crash kills="100":
    PIPE_CRASH_KILLS={{kills}} cargo test --test it crash

# Make calls of the operating system fail, damage stored files, kill runs: this many times each.
faults times="1000":
    PIPE_FAULTS={{times}} PIPE_CRASH_KILLS={{times}} cargo test --test it -- faults crash --nocapture

# Share results through a real S3 server (pip install 'moto[server,s3]' boto3), damage them, kill it.
check-s3:
    cargo build
    scripts/check-s3

# Compare speed and correctness with other runners; those on the PATH take part.
bench-runners *arguments:
    cargo build --release
    PIPE=target/release/pipe python3 benches/runners --out docs/measured/runners.md {{arguments}}

# Measure training on the CPU beside PyTorch; needs Python with torch and torchvision.
bench-train *arguments:
    python3 benches/train --out docs/measured/training-cpu.md {{arguments}}

# Feed mutated pipeline files to the parser for this many seconds.
fuzz seconds="3600":
    PIPE_FUZZ_SECONDS={{seconds}} cargo test --release --lib fuzz -- --nocapture

# Fetch nvcc without root into target/cuda-kit and build for NVIDIA GPUs.
cuda:
    scripts/setup-cuda
    . target/cuda-kit/env.sh && cargo build --release --features cuda

# Run what is built for GPUs without one, by the stand-in of tests/stand-in.
check-cuda:
    scripts/setup-cuda
    scripts/gpu-check pack
    scripts/gpu-stand-in --check

# Check and measure training on the GPU here beside the CPU and PyTorch; `scripts/gpu-check --help` has more.
gpu-check:
    scripts/gpu-check

# Licences, advisories and sources of every dependency.
deny:
    cargo deny check
