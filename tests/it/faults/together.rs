//! Many runs at once on one store.

use std::collections::BTreeMap;

use super::{STEPS, expected, project, results, trials};
use crate::chance::Chance;

#[test]
fn each_step_runs_once_however_many_runs_there_are() {
    let [expected, _] = expected();
    let mut chance = Chance::new();
    for trial in 0..trials().div_ceil(8) {
        let project = project();
        let many = 2 + chance.below(7);
        let runs: Vec<_> = (0..many).map(|_| project.start(&["run", "p.toml", "--json"])).collect();
        let mut ran: BTreeMap<String, u64> = BTreeMap::new();
        for run in runs {
            let shown = project.shown(&run.wait_with_output().unwrap());
            assert_eq!(shown.code, Some(0), "trial {trial} of seed {}: {shown}", chance.seed);
            for line in shown.stdout.lines() {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                if event["event"] == "ran" {
                    *ran.entry(event["step"].as_str().unwrap().to_owned()).or_default() += 1;
                }
            }
        }
        let once: BTreeMap<String, u64> = STEPS.map(|step| (step.to_owned(), 1)).into();
        assert_eq!(ran, once, "trial {trial} of seed {}: {many} runs", chance.seed);
        assert!(results(&project) == expected);
        let verified = project.pipe(&["store", "verify"]);
        assert_eq!(verified.code, Some(0), "{verified}");
    }
}
