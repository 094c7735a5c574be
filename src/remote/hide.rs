//! Takes secrets of the environment out of a text before anybody sees it.

/// Shorter values could stand anywhere by chance.
const SHORTEST: usize = 6;

/// Replaces every secret of the environment in a text that came from outside.
pub(super) fn hide(text: String) -> String {
    std::env::vars().fold(text, |text, (name, value)| without(text, &name, &value))
}

/// Replaces the value of a variable, if by its name it is a secret.
fn without(text: String, name: &str, value: &str) -> String {
    let of_a_cloud = ["AWS_", "AZURE_", "GOOGLE_"].iter().any(|cloud| name.starts_with(cloud));
    let is_secret =
        ["SECRET", "TOKEN", "KEY", "SAS", "PASSWORD"].iter().any(|word| name.contains(word));
    if of_a_cloud && is_secret && value.len() >= SHORTEST && text.contains(value) {
        return text.replace(value, &format!("[{name}]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secrets_are_taken_out() {
        let told = |name, value| without("signed by hunter2x in eu-west-1".to_owned(), name, value);
        assert_eq!(
            told("AWS_SECRET_ACCESS_KEY", "hunter2x"),
            "signed by [AWS_SECRET_ACCESS_KEY] in eu-west-1"
        );
        assert_eq!(
            told("AZURE_STORAGE_SAS_TOKEN", "hunter2x"),
            "signed by [AZURE_STORAGE_SAS_TOKEN] in eu-west-1"
        );
        assert_eq!(told("AWS_REGION", "eu-west-1"), "signed by hunter2x in eu-west-1");
        assert_eq!(told("AWS_SECRET_ACCESS_KEY", "in"), "signed by hunter2x in eu-west-1");
        assert_eq!(told("KEYBOARD", "signed"), "signed by hunter2x in eu-west-1");
    }
}
