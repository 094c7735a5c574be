//! What a colleague gets on a machine with other tools, and what `plan` tells of a remote.

use std::fs;

use super::{Machines, steps};

impl Machines {
    /// Two machines with other versions of a tool, and what the first has made in the remote.
    fn of_tools() -> Self {
        let machines = Self::new();
        for (project, version) in [(&machines.here, "1.2"), (&machines.there, "1.3")] {
            let text = project.read("p.toml").replace(
                "[stage.other]\n",
                "[stage.other]\ntools = [\"sh version.sh\"]\ninherit = [\"PIPE_TEST_PLACE\"]\n",
            );
            project.write("p.toml", &text);
            project.write("version.sh", &format!("echo tool {version}"));
        }
        machines.here.ran();
        for arguments in [["push", "p.toml"], ["lock", "p.toml"]] {
            assert_eq!(machines.here.pipe(&arguments).code, Some(0));
        }
        machines.there.write("p.toml.lock", &machines.here.read("p.toml.lock"));
        machines
    }
}

#[test]
fn what_was_locked_comes_whatever_tools_are_here() {
    let machines = Machines::of_tools();
    let lock = machines.here.read("p.toml.lock");
    assert!(lock.contains("\"tool.sh version.sh\" = \"tool 1.2\""), "{lock}");
    assert!(lock.contains("\"environment.PIPE_TEST_PLACE\" = \"null\""), "{lock}");
    // Not even a program that is missing matters.
    fs::remove_file(machines.there.path("version.sh")).unwrap();
    let shown = machines.there.pipe(&["pull", "p.toml", "--locked", "--json"]);
    let all = ["count", "list", "other"].map(str::to_owned);
    assert_eq!((shown.code, steps(&shown, "fetched")), (Some(0), all.into()), "{shown}");
    assert_eq!(machines.there.read(".pipe/latest/p/other/other.txt"), "other\n");
    // To make them is another thing: with another tool they would be other results.
    machines.there.write("version.sh", "echo tool 1.3");
    let shown = machines.there.pipe(&["run", "p.toml", "--locked"]);
    assert_eq!(shown.code, Some(2), "{shown}");
    let told = "step `other` is not as it was locked: tool.sh version.sh: tool 1.2 → tool 1.3";
    assert!(shown.stderr.contains(told), "{shown}");
    // Without the result here the lock file alone tells it.
    let fresh = Machines::of_tools();
    let shown = fresh.there.pipe(&["plan", "p.toml", "--locked"]);
    assert!(shown.stderr.contains(told), "{shown}");
    let mut command = machines.here.command(&["run", "p.toml", "--locked"]);
    let shown = machines.here.shown(&command.env("PIPE_TEST_PLACE", "x").output().unwrap());
    assert!(shown.stderr.contains("environment.PIPE_TEST_PLACE: null → \"x\""), "{shown}");
    // That a tool is asked at all is a word of the pipeline file.
    let text = machines.there.read("p.toml").replace("tools = [\"sh version.sh\"]\n", "");
    machines.there.write("p.toml", &text);
    let shown = machines.there.pipe(&["pull", "p.toml", "--locked"]);
    assert_eq!(shown.code, Some(2), "{shown}");
    assert!(shown.stderr.contains("the pipeline file says something else of it"), "{shown}");
}

#[test]
fn a_plan_asks_the_remote_when_it_is_told_to() {
    let machines = Machines::pushed();
    // The results of `count` are not there.
    for file in machines.files("/results/") {
        if fs::read_to_string(&file).unwrap().contains("\"count\"") {
            fs::remove_file(file).unwrap();
        }
    }
    let plan = |arguments: &[&str]| {
        let shown = machines.there.pipe(&[&["plan", "p.toml"], arguments].concat());
        format!("{}\n{}", shown.code.unwrap(), shown.stdout.replace(&machines.url(), "[REMOTE]"))
    };
    insta::assert_snapshot!(plan(&[]), @r"
    0
      run      list   never run
      run      count  never run
      run      other  never run

      3 steps: 3 would run
      [REMOTE] was not asked; `pipe plan --remote` tells what would be fetched
    ");
    insta::assert_snapshot!(plan(&["--remote"]), @r"
    0
      fetch    list   11 B
      run      count  never run
      fetch    other  6 B

      3 steps: 2 would be fetched, 1 would run
    ");
    assert_eq!(plan(&["--remote"]), plan(&[&format!("--remote={}", machines.url())]));
    assert!(
        !machines.there.path(".pipe/v1/results").read_dir().is_ok_and(|mut d| d.next().is_some())
    );
    let run = machines.there.pipe(&["run", "p.toml", "--json"]);
    assert_eq!(
        (steps(&run, "fetched"), steps(&run, "ran")),
        (vec!["list".to_owned(), "other".to_owned()], vec!["count".to_owned()],)
    );
}
