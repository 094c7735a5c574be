//! Mistakes of `executor`.

use super::with;

/// What is said of an `executor` of the step `verdict`, without the lines of the file.
fn told(executor: &str) -> Vec<String> {
    let text = with("kind = \"judge\"", &format!("kind = \"judge\"\n{executor}"));
    let told = text.lines().filter(|line| line.starts_with("x.toml") || line.contains("= help"));
    told.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn what_is_right() {
    for right in [
        "executor = \"slurm\"",
        "executor = \"local\"",
        "executor.slurm = {}",
        "executor.slurm = { partition = \"gpu\", time = \"1h 30min\", cpus = 4, memory = \"8GiB\" }",
        "executor.slurm = { gpus = 0, account = \"a\", qos = \"q\", extra = [\"--gres=gpu:a100:2\"] }",
    ] {
        assert_eq!(told(right), [""; 0], "{right}");
    }
}

#[test]
fn choices() {
    const HELP: &str =
        "= help: `executor = \"local\"`, `executor = \"slurm\"` or `executor.slurm = { … }`";
    let check = |executor: &str, message: &str| {
        assert_eq!(told(executor), [format!("x.toml:{message}"), HELP.to_owned()]);
    };
    check("executor = \"slrum\"", "19:12: unknown executor `slrum`, did you mean `slurm`?");
    check("executor.slrum = {}", "19:10: unknown executor `slrum`, did you mean `slurm`?");
    check("executor = 3", "19:12: `executor` must be one choice, not the integer 3");
    check("executor = {}", "19:12: `executor` must be one choice, not a table");
    check(
        "executor = { local = {}, slurm = {} }",
        "19:1: `executor` must be one choice, not several",
    );
    check("executor.local = {}", "19:10: `executor.local` has no options");
    check("executor.slurm = 4", "19:18: `executor.slurm` must be a table, not the integer 4");
}

#[test]
fn options() {
    let check = |options: &str, message: &str| {
        let told = told(&format!("executor.slurm = {{ {options} }}"));
        assert_eq!(told.first(), Some(&format!("x.toml:{message}")), "{told:?}");
    };
    check("cpu = 3", "19:20: unknown key `executor.slurm.cpu`, did you mean `cpus`?");
    check("cpus = 0", "19:27: `executor.slurm.cpus` must be a number from 1 to 4096");
    check("gpus = \"2\"", "19:27: `executor.slurm.gpus` must be a number from 0 to 4096");
    let amount = "`executor.slurm.memory` must be an amount such as \"512MiB\" or \"8GiB\"";
    check("memory = \"8GB\"", &format!("19:29: {amount}"));
    check("memory = 8", &format!("19:29: {amount}"));
    let time = "`executor.slurm.time` must be a time such as \"90s\", \"30min\" or \"1h 30min\"";
    check("time = \"soon\"", &format!("19:27: {time}"));
    check("partition = \"a b\"", "19:32: `executor.slurm.partition` must be a name without spaces");
    let extra = "`executor.slurm.extra` must be an array of long options of sbatch such as \
                 \"--nice=10\", none of those that pipe sets";
    check("extra = [\"--array=0-3\"]", &format!("19:28: {extra}"));
    check("extra = \"--nice\"", &format!("19:28: {extra}"));
}
