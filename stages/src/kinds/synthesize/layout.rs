//! Who is on which picture, and where it lies.

use std::num::NonZeroU32;

use super::{MOST_PEOPLE, Synthesize};
use crate::metric::open_set::NOBODY;
use crate::rng::Random;

/// A picture to take.
#[derive(Debug, PartialEq)]
pub(super) struct Shot {
    pub(super) path: String,
    pub(super) person: u64,
    /// Tells the pictures of a person apart.
    pub(super) index: u64,
}

/// Everything that is written.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Layout {
    pub(super) shots: Vec<Shot>,
    /// Paths and contents.
    pub(super) tables: Vec<(&'static str, String)>,
}

impl Synthesize {
    /// Returns how many of so many unknown pictures show nobody known.
    pub(super) fn strangers(&self, pictures: NonZeroU32) -> u64 {
        (self.unknown_share.get() * f64::from(pictures.get())).round() as u64
    }

    /// Says who is on which picture.
    ///
    /// People are numbered: first those to classify, then the known, then the strangers. Names are given
    /// by chance, so that neither task can be told from a name.
    pub(super) fn layout(&self) -> Layout {
        let (identities, known) = (u64::from(self.identities.get()), u64::from(self.known.get()));
        let strangers = self.strangers(self.unknown_dev) + self.strangers(self.unknown_test);
        let names = self.names(identities + known + strangers);
        let name = |person: u64| names[person as usize].as_str();
        let mut layout = Layout::default();
        self.classification(&mut layout, name);

        let mut pictures = vec![0; names.len()];
        let mut shoot = |layout: &mut Layout, person: u64, path: String| {
            let index = &mut pictures[person as usize];
            layout.shots.push(Shot { path, person, index: *index });
            *index += 1;
        };
        for person in identities..identities + known {
            for image in 1..=self.known_images.get() {
                let path = format!("verification/known/{}/{image:04}_01.jpg", name(person));
                shoot(&mut layout, person, path);
            }
        }
        let mut random = Random::new(self.seed, "unknown", &[]);
        let mut next = Vec::new();
        let mut stranger = identities + known;
        for (folder, count, table) in [
            ("unknown_dev", self.unknown_dev, "verification/verification_dev.csv"),
            ("unknown_test", self.unknown_test, "truth/verification_test.csv"),
        ] {
            let mut people = Vec::new();
            for _ in 0..self.strangers(count) {
                people.push(stranger);
                stranger += 1;
            }
            while people.len() < count.get() as usize {
                // Every known person has been asked once before any is asked again.
                if next.is_empty() {
                    next = (identities..identities + known).collect();
                    random.shuffle(&mut next);
                }
                people.extend(next.pop());
            }
            random.shuffle(&mut people);
            let mut truth = String::from("id,label\n");
            for (position, &person) in people.iter().enumerate() {
                shoot(&mut layout, person, format!("verification/{folder}/{position:06}.jpg"));
                let answer = if person < identities + known { name(person) } else { NOBODY };
                truth += &format!("{position},{answer}\n");
            }
            layout.tables.push((table, truth));
        }
        let rows = (0..self.unknown_test.get()).map(|row| format!("{row},{NOBODY}\n"));
        let sample = "id,label\n".to_owned() + &rows.collect::<String>();
        layout.tables.push(("verification/verification_sample_submission.csv", sample));
        layout
    }

    /// Adds the closed-set task.
    fn classification<'a>(&self, layout: &mut Layout, name: impl Fn(u64) -> &'a str) {
        let mut order: Vec<u64> = (0..u64::from(self.identities.get())).collect();
        order.sort_by_key(|&person| name(person));
        let (train, dev) = (u64::from(self.train_images.get()), u64::from(self.dev_images.get()));
        let mut tests = Vec::new();
        for (class, &person) in order.iter().enumerate() {
            for (folder, first, count) in [("train", 0, train), ("dev", train, dev)] {
                for index in first..first + count {
                    let image = index - first + 1;
                    let path =
                        format!("classification/{folder}/{}/{image:04}_01.jpg", name(person));
                    layout.shots.push(Shot { path, person, index });
                }
            }
            let first = train + dev;
            tests
                .extend((0..u64::from(self.test_images.get())).map(|i| (class, person, first + i)));
        }
        Random::new(self.seed, "test", &[]).shuffle(&mut tests);
        let (mut sample, mut truth) = (String::from("id,label\n"), String::from("id,label\n"));
        for (position, (class, person, index)) in tests.into_iter().enumerate() {
            let file = format!("{position:06}.jpg");
            sample += &format!("{file},0\n");
            truth += &format!("{file},{class}\n");
            layout.shots.push(Shot { path: format!("classification/test/{file}"), person, index });
        }
        layout.tables.push(("classification/classification_sample_submission.csv", sample));
        layout.tables.push(("truth/classification_test.csv", truth));
    }

    /// Gives each person a name of its own, such as n004211.
    fn names(&self, people: u64) -> Vec<String> {
        let mut numbers: Vec<u64> = (1..=(2 * people).clamp(9_999, MOST_PEOPLE)).collect();
        Random::new(self.seed, "names", &[]).shuffle(&mut numbers);
        numbers.into_iter().take(people as usize).map(|number| format!("n{number:06}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::Layout;
    use crate::kinds::synthesize::tests::small;

    #[test]
    fn no_picture_is_taken_twice_and_no_person_is_in_both_tasks() {
        let layout = small("known-images = 3").layout();
        let pictures: BTreeSet<(u64, u64)> =
            layout.shots.iter().map(|shot| (shot.person, shot.index)).collect();
        assert_eq!(pictures.len(), layout.shots.len());
        let people = |task: &str| -> BTreeSet<u64> {
            let shots = layout.shots.iter().filter(|shot| shot.path.starts_with(task));
            shots.map(|shot| shot.person).collect()
        };
        assert!(people("classification/").is_disjoint(&people("verification/")));
        // Five known people are asked about once each, three of them twice before any thrice.
        assert_eq!(people("verification/unknown").len(), 5 + 3);
    }

    /// The truth files name who is on the pictures.
    #[test]
    fn the_truth_is_true() {
        let Layout { shots, tables } = small("").layout();
        let person: BTreeMap<&str, u64> =
            shots.iter().map(|shot| (shot.path.as_str(), shot.person)).collect();
        let name_of = |wanted: u64, folder: &str| {
            let path =
                shots.iter().find(|shot| shot.person == wanted && shot.path.starts_with(folder));
            path.and_then(|shot| shot.path.split('/').nth(2)).map(str::to_owned)
        };
        let mut classes: Vec<String> =
            (0..6).filter_map(|one| name_of(one, "classification/train/")).collect();
        classes.sort();
        for (path, text) in &tables {
            let folder = match *path {
                "truth/classification_test.csv" => "classification/test",
                "truth/verification_test.csv" => "verification/unknown_test",
                "verification/verification_dev.csv" => "verification/unknown_dev",
                _ => continue,
            };
            for (row, line) in text.lines().skip(1).enumerate() {
                let (id, label) = line.split_once(',').unwrap();
                let here = person[format!("{folder}/{row:06}.jpg").as_str()];
                if folder == "classification/test" {
                    assert_eq!(id, format!("{row:06}.jpg"));
                    let class = &classes[label.parse::<usize>().unwrap()];
                    assert_eq!(name_of(here, "classification/train/").as_ref(), Some(class));
                } else {
                    assert_eq!(id, row.to_string());
                    let name = name_of(here, "verification/known/");
                    assert_eq!(name.as_deref().unwrap_or("n000000"), label);
                }
            }
        }
    }
}
