//! The macro behind every family of interchangeable parts.

/// Makes the enum of a family: one variant per entry, named in kebab-case in pipeline files, that
/// derefs to the family's trait.
///
/// ```text
/// choices! {
///     /// Every loss, by its name in pipeline files.
///     pub(crate) enum AnyLoss: LossConfig { Arcface(arcface::Arcface), }
/// }
/// ```
macro_rules! choices {
    ($(#[$meta:meta])* $visibility:vis enum $name:ident: $family:path {
        $($(#[$entry_meta:meta])* $entry:ident($config:ty)),+ $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        $visibility enum $name { $($(#[$entry_meta])* $entry($config),)+ }

        impl std::ops::Deref for $name {
            type Target = dyn $family;
            fn deref(&self) -> &(dyn $family + 'static) {
                match self { $(Self::$entry(config) => config,)+ }
            }
        }
    };
}

pub(crate) use choices;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use schemars::{JsonSchema, schema_for};

    use crate::augment::AnyAugmentation;
    use crate::loss::AnyLoss;
    use crate::model::AnyModel;
    use crate::optim::AnyOptimizer;
    use crate::schedule::AnySchedule;

    /// Compares the files of a folder below `src/` with the names in its table.
    fn check(folder: &str, names: impl IntoIterator<Item = String>) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
        let files = std::fs::read_dir(&path).unwrap().map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.trim_end_matches(".rs").replace('_', "-")
        });
        let files: BTreeSet<String> = files.filter(|file| file != "mod").collect();
        let names: BTreeSet<String> = names.into_iter().collect();
        assert_eq!(files, names, "files of {folder}/ and entries of its table");
    }

    /// Returns the names of a family in pipeline files.
    fn names<T: JsonSchema>() -> Vec<String> {
        let schema = schema_for!(T).to_value();
        let entries = schema["oneOf"].as_array().unwrap().iter();
        entries.map(|entry| entry["required"][0].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn every_file_is_named_by_its_table() {
        check("augment", names::<AnyAugmentation>());
        check("loss", names::<AnyLoss>());
        check("model", names::<AnyModel>());
        check("optim", names::<AnyOptimizer>());
        check("schedule", names::<AnySchedule>());
        check("kinds", crate::kinds::KINDS.iter().map(|kind| kind.name.to_owned()));
    }
}
