//! `command`: any program, with its inputs, outputs and environment declared.

mod placeholder;
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::Ordering;

use anyhow::Context as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use walkdir::WalkDir;

use crate::context::Context;
use crate::kind::{Arity, Complaint, Input, Read, Source, Stage};

pub use placeholder::literal;
use placeholder::{Placeholder, Template};
pub use process::program_file;

/// Runs any program as a step.
///
/// The program starts in the project root, with its standard input closed. What it prints goes to the
/// step's log. The step fails when the program does, when a declared output is missing, or when there is
/// a file that was not declared. A cancelled step ends the program and everything that it started.
///
/// `run`, and the values of `environment`, may hold these placeholders; the paths are absolute:
///
/// - `{out}`: the empty directory to fill;
/// - `{scratch}`: a directory that survives a failed or killed try of the same work;
/// - `{input.NAME}`: the result wired to `inputs.NAME`; `{input.NAME.0}` where several are wired, and
///   `{input.NAME.*}`, alone in a word of `run`, for a word of each of them;
/// - `{files.0}`: the first of `files`.
///
/// `{{out}}` stands for the text `{out}`. Any input name may be wired.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Command {
    /// The program and its arguments. No shell is involved; where one is wanted, write
    /// `["sh", "-c", "sort < {input.list} > {out}/sorted.txt"]`. A name without a slash is looked up in
    /// `PATH`; a relative path is relative to the project root.
    #[schemars(length(min = 1))]
    run: Vec<String>,
    /// Environment variables of the program. Of the surrounding environment it sees `PATH`, `HOME`,
    /// `TMPDIR`, `LANG` and the `LC_` variables alone, which are not part of the key.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Files and directories outside the pipeline that the program reads, such as a script; a change to
    /// one of them runs the step again.
    #[serde(default)]
    files: Vec<Source>,
    /// The files and directories that the program makes, relative to `{out}`.
    #[schemars(length(min = 1))]
    outputs: Vec<String>,
}

impl Stage for Command {
    const KIND: &'static str = "command";
    const VERSION: u32 = 1;
    const INPUTS: &'static [Input] = &[Input {
        name: "*",
        accepts: &[
            "images",
            "shards",
            "stats",
            "weights",
            "predictions",
            "embeddings",
            "threshold",
            "matches",
            "submission",
        ],
        arity: Arity::Many,
        about: "results under names of your own, used as `{input.NAME}`",
    }];
    const OUTPUT: &'static str = "files";

    fn reads(&self) -> Vec<Read> {
        let read = |(index, source): (usize, &Source)| Read {
            parameter: format!("files.{index}"),
            source: source.clone(),
            path_matters: true,
        };
        self.files.iter().enumerate().map(read).collect()
    }

    fn check(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let mut complain = |parameter: String, message: String, help: &str| {
            complaints.push(Complaint { parameter, message, help: Some(help.to_owned()) });
        };
        if self.run.first().is_none_or(String::is_empty) {
            complain(
                "run".into(),
                "no program to run".into(),
                "write run = [\"program\", \"argument\"]",
            );
        }
        if self.outputs.is_empty() {
            let help = "name at least one file or directory that the program makes in {out}";
            complain("outputs".into(), "no output is declared".into(), help);
        }
        for (index, output) in self.outputs.iter().enumerate() {
            if !is_inside(output) {
                let message = format!("`{output}` is not a path inside the output directory");
                let help = "write a relative path without `..`, such as \"table.csv\"";
                complain(format!("outputs.{index}"), message, help);
            }
        }
        for name in
            self.environment.keys().filter(|name| name.is_empty() || name.contains(['=', '\0']))
        {
            let message = format!("`{name}` cannot be the name of an environment variable");
            complain(
                "environment".into(),
                message,
                "leave out `=` and NUL, as in { SEED = \"7\" }",
            );
        }
        for (index, source) in
            self.files.iter().enumerate().filter(|(_, file)| file.0.contains('\0'))
        {
            let message = format!("`{}` cannot be the path of a file", source.0);
            complain(format!("files.{index}"), message, "a path has no NUL in it");
        }
        for (parameter, text) in self.texts() {
            if text.contains('\0') {
                let message = "no program can be given a text with NUL in it".to_owned();
                complain(parameter.clone(), message, "take out the `\\u0000`");
            }
            match Template::parse(text) {
                Err(unknown) => {
                    let help = format!(
                        "use {{out}}, {{scratch}}, {{input.NAME}} or {{files.N}}; `{{{{{unknown}}}}}` stands for the \
                         text `{{{unknown}}}`"
                    );
                    complain(parameter, format!("unknown placeholder `{{{unknown}}}`"), &help);
                }
                Ok(template) => {
                    let alone = template.all().is_some() && parameter.starts_with("run.");
                    if template.is_several() && !alone {
                        let message = "`{input.NAME.*}` stands for several words".to_owned();
                        let help = "it can be nothing but a whole word of `run`";
                        complain(parameter.clone(), message, help);
                    }
                    for placeholder in template.placeholders() {
                        let Placeholder::File(index) = *placeholder else { continue };
                        if index < self.files.len() {
                            continue;
                        }
                        let message = format!("`{{files.{index}}}` is beyond the end of `files`");
                        let help = match self.files.len() {
                            0 => "there are no `files`".to_owned(),
                            1 => "`files` has one entry, `{files.0}`".to_owned(),
                            count => format!("`files` has {count} entries, counted from 0"),
                        };
                        complain(parameter.clone(), message, &help);
                    }
                }
            }
        }
        complaints
    }

    fn check_wiring(&self, wired: &BTreeMap<String, usize>) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        for (parameter, text) in self.texts() {
            let Ok(template) = Template::parse(text) else { continue };
            let mut complain = |message: String, help: Option<String>| {
                complaints.push(Complaint { parameter: parameter.clone(), message, help });
            };
            for placeholder in template.placeholders() {
                let (name, index) = match placeholder {
                    Placeholder::Input(name, index) => (name, *index),
                    Placeholder::All(name) => (name, None),
                    Placeholder::Out | Placeholder::Scratch | Placeholder::File(_) => continue,
                };
                let Some(&count) = wired.get(name).filter(|count| **count > 0) else {
                    let names: Vec<&str> = wired.keys().map(String::as_str).collect();
                    let help = match names.is_empty() {
                        true => format!("write inputs = {{ {name} = \"STEP\" }}"),
                        false => format!("inputs of this step: {}", names.join(", ")),
                    };
                    complain(format!("nothing is wired to `inputs.{name}`"), Some(help));
                    continue;
                };
                if let Placeholder::Input(..) = placeholder
                    && let Err(message) = place_among(name, index, count)
                {
                    complain(message, None);
                }
            }
        }
        complaints
    }

    fn run(&self, cx: &Context) -> anyhow::Result<()> {
        let mut words = Vec::new();
        for text in &self.run {
            match Template::parse(text).ok().as_ref().and_then(Template::all) {
                Some(name) => {
                    for path in wired(cx, name)? {
                        words.push(std::path::absolute(path)?.into_os_string());
                    }
                }
                None => words.push(self.fill(text, cx)?),
            }
        }
        let mut environment = process::surroundings();
        for (name, text) in &self.environment {
            environment.insert(name.into(), self.fill(text, cx)?);
        }
        process::run(&words, &environment, &cx.cancelled, |bytes| {
            cx.program_memory.fetch_max(bytes, Ordering::Relaxed);
        })?;
        check_outputs(cx.out(), &self.outputs)
    }
}

impl Command {
    /// Every text that may hold placeholders, by its parameter.
    fn texts(&self) -> impl Iterator<Item = (String, &String)> {
        let run = self.run.iter().enumerate().map(|(index, text)| (format!("run.{index}"), text));
        let environment = self.environment.iter();
        run.chain(environment.map(|(name, text)| (format!("environment.{name}"), text)))
    }

    /// Puts paths in the place of placeholders.
    fn fill(&self, text: &str, cx: &Context) -> anyhow::Result<OsString> {
        let template = Template::parse(text)
            .map_err(|name| anyhow::anyhow!("unknown placeholder `{{{name}}}` in `{text}`"))?;
        template.fill(|placeholder| {
            let path = match placeholder {
                Placeholder::Out => cx.out().to_owned(),
                Placeholder::Scratch => cx.scratch()?.to_owned(),
                Placeholder::Input(name, index) => input(cx, name, *index)?,
                Placeholder::All(name) => {
                    anyhow::bail!("`{{input.{name}.*}}` can be nothing but a whole word of `run`")
                }
                Placeholder::File(index) => {
                    let source = self.files.get(*index);
                    cx.path(source.with_context(|| format!("`files` has no entry {index}"))?)?
                }
            };
            std::path::absolute(&path)
                .with_context(|| format!("{} has no absolute path", path.display()))
        })
    }
}

/// Returns the result wired to an input name.
fn input(cx: &Context, name: &str, index: Option<usize>) -> anyhow::Result<PathBuf> {
    let wired = wired(cx, name)?;
    let place = place_among(name, index, wired.len()).map_err(anyhow::Error::msg)?;
    Ok(wired[place].clone())
}

/// Returns which of so many results wired to an input a placeholder means, or why it means none.
fn place_among(name: &str, index: Option<usize>, count: usize) -> Result<usize, String> {
    match index {
        None if count == 1 => Ok(0),
        None => Err(format!(
            "{count} steps are wired to `{name}`; write {{input.{name}.0}} and so on, or {{input.{name}.*}} for all"
        )),
        Some(index) if index < count => Ok(index),
        Some(index) if count == 1 => Err(format!(
            "{{input.{name}.{index}}}: one step is wired to `{name}`, and that is {{input.{name}}}"
        )),
        Some(index) => Err(format!(
            "{{input.{name}.{index}}}: {count} steps are wired to `{name}`, counted from 0"
        )),
    }
}

/// Returns the results wired to an input name, at least one.
fn wired<'c>(cx: &'c Context, name: &str) -> anyhow::Result<&'c [PathBuf]> {
    let wired = cx.input_list(name);
    let names = || cx.inputs.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    anyhow::ensure!(
        !wired.is_empty(),
        "nothing is wired to `inputs.{name}`; there is: {}",
        names()
    );
    Ok(wired)
}

/// Returns whether a declared output stays inside the output directory.
fn is_inside(output: &str) -> bool {
    let mut components = Path::new(output).components().peekable();
    components.peek().is_some()
        && !output.contains('\0')
        && components.all(|component| matches!(component, Component::Normal(_)))
}

/// Checks that the files under `out` are the declared ones.
fn check_outputs(out: &Path, outputs: &[String]) -> anyhow::Result<()> {
    // A link in its place would have files be taken from wherever it leads to.
    match std::fs::symlink_metadata(out) {
        Ok(there) if there.is_dir() => {}
        Ok(_) => {
            anyhow::bail!("the program put something else in the place of the directory {{out}}")
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            anyhow::bail!("the program removed the directory {{out}}")
        }
        Err(error) => return Err(error).context("cannot look at the directory {out}"),
    }
    let missing: Vec<&str> =
        outputs.iter().map(String::as_str).filter(|path| !out.join(path).exists()).collect();
    let mut undeclared = BTreeSet::new();
    for entry in WalkDir::new(out).min_depth(1) {
        let entry = entry.with_context(|| format!("cannot list {}", out.display()))?;
        let path = entry.path().strip_prefix(out).expect("a walk stays below its start");
        let name = path.display().to_string();
        anyhow::ensure!(
            entry.file_type().is_dir() || entry.file_type().is_file(),
            "the program made `{name}`, which is neither a file nor a directory; a result holds plain files"
        );
        if entry.file_type().is_file() && !outputs.iter().any(|output| path.starts_with(output)) {
            undeclared.insert(name);
        }
    }
    let mut faults = Vec::new();
    if !missing.is_empty() {
        faults.push(format!("did not make the declared `{}`", missing.join("`, `")));
    }
    let is_empty = |path: &&str| {
        let below = WalkDir::new(out.join(path)).into_iter().flatten();
        !missing.contains(path) && below.into_iter().all(|entry| entry.file_type().is_dir())
    };
    let empty: Vec<&str> = outputs.iter().map(String::as_str).filter(is_empty).collect();
    if !empty.is_empty() {
        faults.push(format!(
            "made `{}` without any file in it, and a result holds files alone",
            empty.join("`, `")
        ));
    }
    if !undeclared.is_empty() {
        let names: Vec<String> = undeclared.iter().take(8).cloned().collect();
        let more = if undeclared.len() > 8 {
            format!(" and {} more", undeclared.len() - 8)
        } else {
            String::new()
        };
        faults
            .push(format!("made `{}`{more}, which `outputs` does not declare", names.join("`, `")));
    }
    anyhow::ensure!(faults.is_empty(), "the program {}", faults.join(" and "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::Command;
    use crate::context::Trial;
    use crate::kind::{Source, Stage};

    fn shell(script: &str, outputs: &[&str]) -> Command {
        Command {
            run: ["sh", "-c", script].map(str::to_owned).to_vec(),
            environment: [("SEED".to_owned(), "7".to_owned())].into(),
            files: Vec::new(),
            outputs: outputs.iter().map(|&output| output.to_owned()).collect(),
        }
    }

    fn failure(script: &str, outputs: &[&str]) -> String {
        let trial = Trial::new();
        format!("{:#}", shell(script, outputs).run(&trial.context).unwrap_err())
    }

    #[test]
    fn placeholders_and_environment_reach_the_program() {
        let mut trial = Trial::new();
        let script =
            trial.write("script.sh", "cat \"$1/word\" > \"$2/made\"; env > \"$2/environment\"\n");
        trial.write("left/word", "left");
        trial.wire("left", "left");
        let mut command = shell("", &["made", "environment"]);
        command.run = ["sh", "{files.0}", "{input.left}", "{out}"].map(str::to_owned).to_vec();
        command.files = vec![Source(script.display().to_string())];
        command.environment.insert("KEPT".into(), "{scratch}|{{out}}|{ print $1 }".into());
        assert_eq!(command.check(), []);
        command.run(&trial.context).unwrap();
        let read = |name: &str| fs::read_to_string(trial.context.out().join(name)).unwrap();
        assert_eq!(read("made"), "left");
        let environment = read("environment");
        let scratch = trial.context.scratch.display();
        assert!(environment.contains("SEED=7\n"), "{environment}");
        assert!(
            environment.contains(&format!("KEPT={scratch}|{{out}}|{{ print $1 }}\n")),
            "{environment}"
        );
        assert!(environment.contains("PATH=") && !environment.contains("CARGO"), "{environment}");
    }

    #[test]
    fn several_results_become_words() {
        let mut trial = Trial::new();
        for name in ["one", "two"] {
            trial.write(&format!("{name}/word"), name);
            trial.wire("parts", name);
        }
        let mut command = shell("for part; do cat $part/word; done > {out}/all", &["all"]);
        command.run.extend(["sh", "{input.parts.*}"].map(str::to_owned));
        assert_eq!(command.check(), []);
        assert_eq!(command.check_wiring(&[("parts".to_owned(), 2)].into()), []);
        command.run(&trial.context).unwrap();
        assert_eq!(fs::read_to_string(trial.context.out().join("all")).unwrap(), "onetwo");
        command.run.push("x{input.parts.*}".to_owned());
        command.environment.insert("ALL".into(), "{input.parts.*}".into());
        let complaints = command.check();
        let places: Vec<&str> = complaints.iter().map(|one| one.parameter.as_str()).collect();
        assert_eq!(places, ["run.5", "environment.ALL"]);
    }

    #[test]
    fn placeholders_of_what_is_not_wired_are_told_ahead() {
        let script =
            "{input.one} {input.one.1} {input.two} {input.two.1} {input.none.*} {input.none}";
        let wired = [("one".to_owned(), 1), ("two".to_owned(), 2)].into();
        let complaints = shell(script, &["x"]).check_wiring(&wired);
        let told: Vec<&str> = complaints.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            told,
            [
                "{input.one.1}: one step is wired to `one`, and that is {input.one}",
                "2 steps are wired to `two`; write {input.two.0} and so on, or {input.two.*} for all",
                "nothing is wired to `inputs.none`",
                "nothing is wired to `inputs.none`",
            ]
        );
    }

    #[test]
    fn failures_are_told_apart() {
        let exit = failure("echo one; echo two >&2; exit 3", &["x"]);
        assert!(exit.contains("`sh` failed with exit status 3") && exit.contains("two"), "{exit}");
        let signal = failure("kill -9 $$", &["x"]);
        assert!(signal.contains("`sh` was ended by SIGKILL"), "{signal}");
    }

    #[test]
    fn outputs_are_held_to_the_declaration() {
        let trial = Trial::new();
        let mut command =
            shell("mkdir {out}/d; touch {out}/d/a {out}/d/b {out}/c", &["d", "missing"]);
        let message = format!("{:#}", command.run(&trial.context).unwrap_err());
        let expected = "the program did not make the declared `missing` and made `c`, which `outputs` does not declare";
        assert_eq!(message, expected);
        let trial = Trial::new();
        command.outputs = vec!["d/a".into(), "d/b".into(), "c".into()];
        command.run(&trial.context).unwrap();
        let empty = failure("mkdir -p {out}/d/e; touch {out}/c", &["d", "c"]);
        assert!(empty.contains("made `d` without any file in it"), "{empty}");
        let trial = Trial::new();
        let link = shell("ln -s /etc {out}/link", &["link"]).run(&trial.context).unwrap_err();
        assert!(format!("{link:#}").contains("neither a file nor a directory"), "{link:#}");
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let trial = Trial::new();
        let mut command = shell("", &["x"]);
        command.run = vec!["no-such-program-as-this".into()];
        let message = format!("{:#}", command.run(&trial.context).unwrap_err());
        assert!(message.starts_with("cannot start `no-such-program-as-this`"), "{message}");
    }

    #[test]
    fn cancelling_ends_everything_the_program_started() {
        let trial = Trial::new();
        let cancelled = trial.context.cancelled.clone();
        let alive = trial.context.scratch.join("alive");
        let started = alive.clone();
        let watch = std::thread::spawn(move || {
            while !started.exists() {
                std::thread::sleep(Duration::from_millis(5));
            }
            cancelled.store(true, Ordering::Relaxed);
        });
        // The grandchild ignores the polite signal, so only the group's end can stop it.
        let script =
            "(trap '' TERM; while :; do echo x >> {scratch}/alive; sleep 0.02; done) & wait";
        let message = format!("{:#}", shell(script, &["x"]).run(&trial.context).unwrap_err());
        watch.join().unwrap();
        assert_eq!(message, "cancelled");
        let length = || fs::metadata(&alive).unwrap().len();
        std::thread::sleep(Duration::from_millis(100));
        let before = length();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(length(), before);
    }

    #[test]
    fn a_background_process_does_not_outlive_the_step() {
        let trial = Trial::new();
        let script = "(while :; do echo x >> {scratch}/alive; sleep 0.02; done) & touch {out}/x";
        shell(script, &["x"]).run(&trial.context).unwrap();
        let alive = trial.context.scratch.join("alive");
        let length = || fs::metadata(&alive).map_or(0, |data| data.len());
        let before = length();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(length(), before);
    }

    #[test]
    fn parameters_are_checked() {
        let mut command =
            shell("{otu} {files.2} {{fine}} {\"json\": 1}", &["../x", "/y", "", "a/b"]);
        command.environment.insert("A=B".into(), "{input.}".into());
        let complaints = command.check();
        let told: Vec<(&str, &str)> =
            complaints.iter().map(|one| (one.parameter.as_str(), one.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("outputs.0", "`../x` is not a path inside the output directory"),
                ("outputs.1", "`/y` is not a path inside the output directory"),
                ("outputs.2", "`` is not a path inside the output directory"),
                ("environment", "`A=B` cannot be the name of an environment variable"),
                ("run.2", "unknown placeholder `{otu}`"),
                ("environment.A=B", "unknown placeholder `{input.}`"),
            ]
        );
        let beyond = shell("{files.2}", &["x"]).check();
        assert_eq!(beyond[0].message, "`{files.2}` is beyond the end of `files`");
        let empty = Command { run: vec![], environment: [].into(), files: vec![], outputs: vec![] };
        assert_eq!(empty.check().len(), 2);
    }
}
