//! Takes what may be secret out of a command line before it is remembered.

/// Stands for what was taken out.
const HIDDEN: &str = "***";

/// Returns an argument without the credentials in its URLs: the name and password before `@`, and
/// everything after `?`, where signatures stand.
#[must_use]
pub fn masked(argument: &str) -> String {
    let Some(start) = argument.find("://").map(|at| at + 3) else { return argument.to_owned() };
    let (scheme, rest) = argument.split_at(start);
    let (address, query) = match rest.split_once('?') {
        Some((address, _)) => (address, format!("?{HIDDEN}")),
        None => (rest, String::new()),
    };
    let end = address.find('/').unwrap_or(address.len());
    let (host, path) = address.split_at(end);
    let host = match host.rsplit_once('@') {
        Some((_, host)) => format!("{HIDDEN}@{host}"),
        None => host.to_owned(),
    };
    format!("{scheme}{host}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_taken_out_and_the_rest_stays() {
        let check = |argument: &str, expected: &str| assert_eq!(masked(argument), expected);
        check("--set=stage.net.epochs=3", "--set=stage.net.epochs=3");
        check("pipelines/a?b@c.toml", "pipelines/a?b@c.toml");
        check("s3://bucket/prefix", "s3://bucket/prefix");
        check("--remote=https://me:pass@host:9000/a@b", "--remote=https://***@host:9000/a@b");
        check("https://x.blob.core/c?sv=1&sig=abc", "https://x.blob.core/c?***");
        check("s3://a:b@c@bucket", "s3://***@bucket");
    }
}
