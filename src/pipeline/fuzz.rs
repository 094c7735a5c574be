//! Throws mutated pipelines at the reader: whatever the input, it answers and does not panic.
//!
//! `PIPE_FUZZ_SECONDS=3600 cargo test -p pipe fuzz` fuzzes for an hour; without it a fixed number
//! of inputs is tried. A finding is told with the seed and round that make it again.

use std::time::{Duration, Instant};

use super::sample::Project;
use crate::Plan;

/// Real pipelines to start from.
const SEEDS: &[&str] = &[
    r#"
# Both tasks on one net.
extends = "base.toml"

[params]
size = 32
data = "faces"
nested.deep = [1, "${params.size}", { a = true }]

[stage.faces]
kind = "gather"
images = "${params.data}"
size = "${params.size}"
on-error = "skip"

[stage.net]
kind = "train"
inputs = { train = "faces", dev = ["faces"] }
epochs = 3
learning-rate = 1e-1
seed = 0xFF
model.resnet = { depth = 18, dropout = 0.5 }
loss.arcface = { margin = 0.5, scale = 30.0 }
augment = [{ flip = { probability = 0.5 } }, { crop = { size = 28 } }]
words = ["a", 'b', """c
d"""]

[stage.net.stop]
patience = 3

[stage.verdict]
kind = "judge"
inputs = { images = "faces", weights = "net" }
"#,
    r#"
[stage.a]
kind = "command"
run = ["sh", "-c", "echo $HOME ${HOME} ${params.x}"]
files = ["${stage.b}/x/y", "faces"]
inputs.any = "b"

[stage.b]
kind = "command"
run = ["true"]
inputs = { x = ["a", "b"] }

[params]
x = "${params.y}z"
y = "$${params.x}"

[stage.c]
remove = true

[[stage.d]]
kind = 1979-05-27T07:32:00Z
"#,
    r#"
[params]
depths = [18, 34]

[stage.faces]
kind = "gather"
foreach = { small = { size = 8 }, large = { size = 64 } }
images = "faces"
size = "${each.value.size}"

[stage.net]
kind = "train"
inputs = { train = "faces@small", dev = "faces@*" }
epochs = 1
model.resnet.depth = "${matrix.depth}"
loss = "${matrix.loss}"
words = ["${each.key}", "a${matrix.loss}", "$${matrix.depth}"]

[stage.net.matrix]
depth = "${params.depths}"
loss.plain = "cross-entropy"
loss.arc.arcface.margin = 0.5
exclude = [{ depth = 34, loss = "arc" }]
include = [{ depth = 50, loss = "plain" }]

[stage.verdict]
kind = "judge"
matrix = { depth = "${params.depths}" }
inputs = { images = "faces@small", weights = "net@${matrix.depth}-plain" }
"#,
];

/// What the first of the seeds extends.
const BASE: &str = r#"
[stage.net]
kind = "train"
epochs = 9
model.plain.widths = [8, 16]
loss = "cross-entropy"

[stage.old]
kind = "gather"
images = "faces"
"#;

/// What a mutated pipeline may include.
const SHARED: &str = "include = [\"base.toml\"]\n[params]\nshared = 8\n[stage.shared]\nkind = \"gather\"\nimages = \"faces\"\n";

/// Files of parameters.
const PARAMS: &[(&str, &str)] = &[
    ("params.toml", "size = 16\nnested.deep = 3\n"),
    ("params.json", "{\"size\": 8, \"data\": \"faces\"}"),
];

/// Pieces that pipelines are made of, and some that they should not be.
const TOKENS: &[&str] = &[
    "\n",
    "\r\n",
    "\r",
    "\u{feff}",
    "\0",
    "\t",
    "#",
    "=",
    ".",
    ",",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "\"",
    "'",
    "\"\"\"",
    "'''",
    "\\",
    "\\u0041",
    "\\UFFFFFFFF",
    "${params.",
    "${params.size}",
    "${stage.",
    "${stage.net}/..",
    "${matrix.",
    "${matrix.depth}",
    "${matrix.loss.arcface.margin}",
    "${each.key}",
    "${each.value.size}",
    "foreach = [1, 2, \"a/b\"]\n",
    "matrix.depth = [1, 2, 3, 4]\n",
    "matrix = {}\n",
    "exclude = [{ depth = 18 }]\n",
    "include = [{ loss = \"arc\", depth = 99 }]\n",
    "@",
    "*",
    "?",
    "net@*",
    "$${",
    "${",
    "extends = \"x.toml\"\n",
    "extends = \"base.toml\"\n",
    "include = [\"base.toml\"]\n",
    "include = [\"x.toml\", \"shared.toml\"]\n",
    "params-files = [\"params.json\"]\n",
    "params-files = [\"params.toml\", \"params.json\"]\n",
    "[stage.net]\n",
    "[stage]\n",
    "[params]\n",
    "stage.net.kind = \"judge\"\n",
    "remove = true\n",
    "replace = true\n",
    "kind = \"train\"\n",
    "kind = \"gather\"\n",
    "kind = \"\"\n",
    "inputs = []\n",
    "tools = [\"true\", [\"a\", \"b\"], 3]\n",
    "inherit = [\"A\", \"A\", \"\"]\n",
    "secrets = [\"B=\"]\n",
    "inputs.train = []\n",
    "model",
    "resnet",
    "loss.cross-entropy = {}\n",
    "arcface",
    "true",
    "nan",
    "-inf",
    "1e999",
    "-0.0",
    "0x",
    "0b1",
    "1_0",
    "1__0",
    "9223372036854775807",
    "18446744073709551616",
    "-9223372036854775809",
    "340282366920938463463374607431768211456",
    "99999999999999999999999999999999999999999999999999",
    "0.1e-400",
    "1979-05-27",
    "07:32:00",
    "ä",
    "日本",
    "👩‍👩‍👧",
    "\u{202e}",
    "\u{1b}[31m",
    "..",
    "/",
    "~/x",
    " ",
    "-",
];

/// A small generator with 64 bits of state (splitmix64), so that findings repeat.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound.max(1) as u64) as usize
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Changes a pipeline in a few places.
fn mutate(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = dice.one(SEEDS).as_bytes().to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        match dice.below(12) {
            0..=3 => insert(&mut bytes, at, dice.one(TOKENS).as_bytes()),
            4 => {
                let end = (at + dice.below(20)).min(bytes.len());
                bytes.drain(at..end);
            }
            5 => {
                let byte = dice.roll().to_le_bytes()[0];
                insert(&mut bytes, at, &[byte]);
            }
            6 => {
                let from = dice.below(bytes.len());
                let part = bytes[from..(from + dice.below(60)).min(bytes.len())].to_vec();
                insert(&mut bytes, at, &part);
            }
            7 => {
                let line = lines(&bytes);
                let line = line[dice.below(line.len())].to_vec();
                let at = bytes[..at].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                insert(&mut bytes, at, &line);
            }
            8 => {
                let mut all: Vec<Vec<u8>> = lines(&bytes).into_iter().map(<[u8]>::to_vec).collect();
                let (one, other) = (dice.below(all.len()), dice.below(all.len()));
                all.swap(one, other);
                bytes = all.concat();
            }
            9 => insert(&mut bytes, at, &deep(dice)),
            10 => {
                let part = dice.one(SEEDS).as_bytes();
                let from = dice.below(part.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&part[from..]);
            }
            _ => {
                let word = dice.one(TOKENS);
                let text = String::from_utf8_lossy(&bytes).replacen(dice.one(TOKENS), word, 3);
                bytes = text.into_bytes();
            }
        }
    }
    bytes
}

fn insert(bytes: &mut Vec<u8>, at: usize, part: &[u8]) {
    let at = at.min(bytes.len());
    bytes.splice(at..at, part.iter().copied());
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .collect::<Vec<_>>()
        .into_iter()
        .chain([&b"\n"[..]])
        .collect()
}

/// Something that lies deep in itself.
fn deep(dice: &mut Dice) -> Vec<u8> {
    let depth = 1 + dice.below(300);
    let text = match dice.below(5) {
        0 => format!("\nx = {}{}\n", "[".repeat(depth), "]".repeat(depth)),
        1 => format!("\nx = {}1{}\n", "{a = ".repeat(depth), "}".repeat(depth)),
        2 => format!("\n[params{}]\n", ".a".repeat(depth)),
        3 => {
            let dots = vec!["a"; 1 + depth % 79].join(".");
            let tables = 1 + depth % 79;
            format!("\nx = {}1{}\n", format!("{{{dots} = ").repeat(tables), "}".repeat(tables))
        }
        _ => {
            let chain = (0..depth).map(|n| format!("p{n} = \"${{params.p{}}}\"\n", n + 1));
            format!("\n[params]\n{}p{depth} = [1]\n", chain.collect::<String>())
        }
    };
    text.into_bytes()
}

/// Reads what `round` of `seed` makes and tells everything it has to tell.
fn try_one(project: &Project, seed: u64, round: u64) {
    let mut dice = Dice(seed ^ round.wrapping_mul(0xD134_2543_DE82_EF95));
    let bytes = mutate(&mut dice);
    // Now and then it is JSON that is mutated.
    let json = dice.below(8) == 0;
    if json {
        let text = PARAMS[1].1.replacen(
            dice.one(&["\"", "8", ":", "}", "size", ","]),
            dice.one(TOKENS),
            1,
        );
        std::fs::write(project.root().join("more.json"), text).unwrap();
    }
    std::fs::write(project.root().join("x.toml"), &bytes).unwrap();
    let key = ["stage.net.epochs=", "params.size=", "", "stage.", "\"", "params={a="];
    let setting = format!("{}{}", dice.one(&key), dice.one(TOKENS));
    let settings: &[&str] = if dice.below(3) == 0 { &[setting.as_str()] } else { &[] };
    let params: &[&str] = if json { &["more.json"] } else { &[] };
    let told = match project.load_over(params, settings).and_then(Plan::new) {
        Ok(plan) => {
            let picture = crate::graph::svg(&crate::graph::Graph::of(&plan));
            format!("{:?} {:?} {}", plan.pipeline, plan.order(), picture.len())
        }
        Err(problems) => problems.to_string(),
    };
    assert!(!told.is_empty());
    assert!(
        !told.contains(['\0', '\u{1b}', '\r']),
        "control characters reach the terminal: {told:?}"
    );
}

#[test]
fn fuzz() {
    const ROUNDS: u64 = 1_500;
    let seconds = std::env::var("PIPE_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    // Each long run takes inputs of its own.
    let seed = until.map_or(7, |_| u64::from(std::process::id()));
    let project = Project::new(&[&[("base.toml", BASE), ("shared.toml", SHARED)], PARAMS].concat());
    let mut round = 0;
    while until.map_or(round < ROUNDS, |until| Instant::now() < until) {
        let outcome = std::panic::catch_unwind(|| try_one(&project, seed, round));
        assert!(outcome.is_ok(), "seed {seed}, round {round}: try_one({seed}, {round})");
        round += 1;
    }
}

/// Inputs at which a long run once failed.
#[test]
fn findings_of_long_runs() {
    // A control character in a path.
    let text = "[stage.a]\nkind = \"gather\"\nimages = \"a\\u001Bb\"\n";
    let told = Project::new(&[("x.toml", text)]).told(&[]);
    assert!(told.contains("looked for a\u{fffd}b"), "{told}");
}

/// Doubling parameters must not fill the memory, nor deep chains the stack.
#[test]
fn bombs() {
    let doubling: String = (0..60)
        .map(|n| format!("p{n} = [\"${{params.p{}}}\", \"${{params.p{}}}\"]\n", n + 1, n + 1))
        .collect();
    let strings: String =
        (0..60).map(|n| format!("p{n} = \"${{params.p{0}}}${{params.p{0}}}\"\n", n + 1)).collect();
    let steps = |count: usize| -> String {
        (0..count)
            .map(|n| {
                let input = (n + 1) % count;
                format!("[stage.s{n}]\nkind = \"command\"\nrun = []\ninputs.x = \"s{input}\"\n")
            })
            .collect()
    };
    let cases = [
        (format!("[params]\n{doubling}p60 = 1\n"), "too large"),
        (format!("[params]\n{strings}p60 = \"xx\"\n"), "longer than"),
        (steps(20_000), "in a loop"),
        (format!("x = {}", "[".repeat(100_000)), "too deep"),
        (format!("x.{}a = 1", "a.".repeat(100_000)), "too deep"),
    ];
    for (text, expected) in cases {
        let told = Project::new(&[("x.toml", &text)]).told(&[]);
        assert!(told.contains(expected), "{expected}: {}", &told[..told.len().min(500)]);
    }
}
