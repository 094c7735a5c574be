//! Mistakes of `retry`, `timeout`, `resources`, `priority` and `pools`.

use super::with;

/// What is said of keys of the step `verdict`, without the lines of the file.
fn told(keys: &str) -> Vec<String> {
    const BEFORE: &str = "inputs = { images = \"faces\", weights = \"net\" }\n";
    let text = with(BEFORE, &format!("{BEFORE}{keys}\n"));
    let told = text.lines().filter(|line| line.starts_with("x.toml") || line.contains("= help"));
    told.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn what_is_right() {
    for right in [
        "retry = 3",
        "retry = { times = 3, delay = \"2s\", factor = 2.0 }",
        "retry = { times = 0, delay = \"0s\", factor = 1 }",
        "timeout = \"10m\"",
        "timeout = \"1h 30m\"",
        "timeout = \"300ms\"",
        "resources = { cpu = 2, memory = \"4GiB\", gpu = 1 }",
        "resources.memory = \"1.5GB\"",
        "priority = -3",
        "resources = { license = 2 }\n[pools]\nlicense = 2\nmemory = \"1TiB\"",
    ] {
        assert_eq!(told(right), [""; 0], "{right}");
    }
}

#[test]
fn values() {
    let check = |keys: &str, message: &str| {
        let told = told(keys);
        assert_eq!(told.first().map(String::as_str), Some(format!("x.toml:{message}").as_str()));
        told.get(1).cloned().unwrap_or_default()
    };
    let help =
        check("retry = \"often\"", "20:9: `retry` must be a table, not the string \"often\"");
    assert!(help.contains("retry = { times = 3, delay = \"2s\""), "{help}");
    check(
        "retry = -1",
        "20:9: `retry` must be a number of times, from 0 to 1000, not the integer -1",
    );
    check("retry = { delay = \"2s\" }", "20:9: `retry` does not say how many `times`");
    check("retry = { tims = 3 }", "20:11: unknown key `retry.tims`, did you mean `times`?");
    check(
        "retry = { times = 3, factor = 0.5 }",
        "20:31: `retry.factor` must be a number from 1 to 100, not the float 0.5",
    );
    let time = "must be a time such as \"90s\", \"10m\" or \"1h 30m\", not";
    let longer = "20:11: `timeout` must be a time longer than none, not the string \"0s\"";
    check("timeout = \"0s\"", longer);
    check("timeout = \"-5s\"", &format!("20:11: `timeout` {time} the string \"-5s\""));
    check("timeout = 10", &format!("20:11: `timeout` {time} the integer 10"));
    check("timeot = \"10m\"", "20:1: unknown key `timeot`, did you mean `timeout`?");
    check(
        "priority = 1.5",
        "20:12: `priority` must be a whole number from -2^63 to 2^63 - 1; the larger, the earlier, not the float 1.5",
    );
}

#[test]
fn amounts() {
    let check = |keys: &str, message: &str| {
        let told = told(keys);
        assert_eq!(told.first().map(String::as_str), Some(format!("x.toml:{message}").as_str()));
        told.get(1).cloned().unwrap_or_default()
    };
    let help = check(
        "resources = { licence = 1 }\n[pools]\nlicense = 2",
        "20:15: there is no pool `licence`, did you mean `license`?",
    );
    assert_eq!(help, "= help: pools: cpu, gpu, license, memory; `[pools]` names others");
    check("resources = { disk = 1 }", "20:15: there is no pool `disk`");
    check(
        "resources = { license = 3 }\n[pools]\nlicense = 2",
        "20:25: `resources.license` is 3, more than the 2 of `pools.license`: the step could never run",
    );
    check(
        "resources.memory = \"5GiB\"\n[pools]\nmemory = \"4GiB\"",
        "20:20: `resources.memory` is 5 GiB, more than the 4 GiB of `pools.memory`: the step could \
         never run",
    );
    let memory = "must be an amount such as \"512MiB\", \"4GiB\" or \"4GB\", not";
    check("resources.memory = 4", &format!("20:20: `resources.memory` {memory} the integer 4"));
    check(
        "resources.memory = \"4 gigs\"",
        &format!("20:20: `resources.memory` {memory} the string \"4 gigs\""),
    );
    check(
        "resources.cpu = -1",
        "20:17: `resources.cpu` must be a whole number from 0 to 2^48, not the integer -1",
    );
    check(
        "[pools]\nLicense = 2",
        "21:1: the name of a pool is lower-case words joined by `-`, not `License`",
    );
    check("[pools]\ncpu = 0", "21:7: `pools.cpu` must be at least 1, or nothing could run");
    check("pools = 2", "20:1: unknown key `pools`, did you mean `tools`?");
}
