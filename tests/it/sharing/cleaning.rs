//! What is taken out of a remote, and what stays.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::{Machines, steps};

impl Machines {
    /// Makes everything in the remote so many days old.
    fn age(&self, days: u64) {
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
        for path in self.files("/v1/") {
            // What is stored may not be written to, but its times may be set.
            let mut permissions = fs::metadata(&path).unwrap().permissions();
            #[expect(clippy::permissions_set_readonly_false, reason = "a test in its own folder")]
            permissions.set_readonly(false);
            fs::set_permissions(&path, permissions).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(then).unwrap();
        }
    }

    fn clean(&self, arguments: &[&str]) -> String {
        let url = self.url();
        let shown = self.here.pipe(&[&["store", "gc", "--remote", &url], arguments].concat());
        let text = shown.stdout + &shown.stderr;
        format!("{}: {}", shown.code.unwrap(), text.replace(&url, "[REMOTE]"))
    }

    /// Changes a step and shares what then comes out; the result from before is nobody's.
    fn outdated() -> Self {
        let machines = Self::pushed();
        let text = machines.here.read("p.toml").replace("echo other", "echo another one");
        for project in [&machines.here, &machines.there] {
            project.write("p.toml", &text);
        }
        machines.here.ran();
        assert_eq!(machines.here.pipe(&["push", "p.toml"]).code, Some(0));
        machines
    }
}

#[test]
fn what_no_pipeline_names_goes_when_it_is_old() {
    let machines = Machines::outdated();
    let all = machines.files("/v1/").len();
    assert_eq!(
        machines.clean(&["p.toml", "--delete"]),
        "0:   0 results and 0 files (0 B) removed from [REMOTE]; 4 results kept\n"
    );
    machines.age(10);
    assert!(machines.clean(&["p.toml"]).contains("results kept"));
    assert_eq!(machines.files("/v1/").len(), all, "it is only told");
    // The default is two weeks.
    assert!(machines.clean(&["p.toml"]).contains("0 results and 0 files"));
    let told = machines.clean(&["p.toml", "--keep-days", "8"]);
    assert!(told.contains("1 result and ") && told.contains("would be removed"), "{told}");
    assert!(told.contains("3 results kept") && told.contains("`--delete` removes them"), "{told}");
    assert_eq!(machines.files("/v1/").len(), all);
    let told = machines.clean(&["p.toml", "--keep-days", "8", "--delete"]);
    assert!(told.contains("1 result and ") && told.contains(" removed from"), "{told}");
    assert_eq!(machines.files("/results/").len(), 3);
    assert!(machines.files("/v1/").len() < all - 1, "files of it alone went too");
    let shown = machines.there.pipe(&["pull", "p.toml", "--json"]);
    assert_eq!(steps(&shown, "fetched"), ["count", "list", "other"], "{shown}");
}

#[test]
fn a_lock_file_keeps_what_it_names_on_a_machine_that_made_nothing() {
    let machines = Machines::pushed();
    assert_eq!(machines.here.pipe(&["lock", "p.toml"]).code, Some(0));
    machines.there.write("p.toml.lock", &machines.here.read("p.toml.lock"));
    let text = machines.there.read("p.toml").replace("echo other", "echo another one");
    machines.age(20);
    let clean = || {
        let url = machines.url();
        machines.there.pipe(&["store", "gc", "--remote", &url, "p.toml", "--delete"])
    };
    fs::create_dir_all(machines.there.path(".pipe")).unwrap();
    machines.there.write("p.toml", &text);
    let shown = clean();
    assert_eq!(shown.code, Some(0), "{shown}");
    assert!(shown.stdout.contains("0 results and 0 files"), "{shown}");
    assert_eq!(machines.files("/results/").len(), 3);
    fs::remove_file(machines.there.path("p.toml.lock")).unwrap();
    let shown = clean();
    assert_eq!(shown.code, Some(2), "{shown}");
    assert!(shown.stderr.contains("p.toml has no lock file and no results here"), "{shown}");
    assert!(machines.clean(&[]).starts_with("2: pipe: no pipeline is named"));
    assert_eq!(machines.files("/results/").len(), 3);
}

#[test]
fn who_pushes_beside_a_cleaning_finds_young_what_it_names() {
    let machines = Machines::pushed();
    machines.age(9);
    // A result whose file is there already, since another result has it, but old.
    let text = machines.here.read("p.toml");
    let same = text.replace("echo other >", "echo other; echo other >");
    assert_ne!(text, same);
    machines.here.write("p.toml", &same);
    assert_eq!(machines.here.ran(), ["other"]);
    assert_eq!(machines.here.pipe(&["push", "p.toml", "other"]).code, Some(0));
    let written = fs::metadata(machines.object("other\n")).unwrap().modified().unwrap();
    assert!(written.elapsed().unwrap() < Duration::from_secs(60 * 60), "it was sent again");
}
