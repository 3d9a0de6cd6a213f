//! Every dependency has a licence under which the gateway may be given on.

use std::process::Command;

use hangu_tests::process::root;
use serde_json::Value;

/// Licences that ask for no more than their notice.
const ALLOWED: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_dependency_may_be_given_on() {
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    let metadata: Value = serde_json::from_slice(&metadata.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 20, "{} packages", packages.len());
    let wrong: Vec<_> = packages
        .iter()
        .filter(|it| !it["license"].as_str().is_some_and(is_allowed))
        .map(|it| format!("{} {}: {}", it["name"], it["version"], it["license"]))
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Whether an SPDX expression can be met with allowed licences alone: one of each `OR`, all of
/// each `AND`. Parentheses only ever stand around an `OR` here.
fn is_allowed(expression: &str) -> bool {
    let one = |text: &str| ALLOWED.contains(&text.trim_matches(|it| "() ".contains(it)));
    let any = |text: &str| text.split(" OR ").flat_map(|it| it.split('/')).any(one);
    if expression.contains('(') {
        return expression.split(" AND ").all(any);
    }
    expression.split(" OR ").any(|it| it.split(" AND ").all(any))
}

#[test]
fn expressions_are_read_as_spdx_means_them() {
    assert!(is_allowed("MIT OR GPL-3.0"));
    assert!(is_allowed("MIT/Apache-2.0"));
    assert!(is_allowed("(MIT OR GPL-3.0) AND Unicode-3.0"));
    assert!(!is_allowed("MIT AND GPL-3.0"));
    assert!(!is_allowed("(MIT OR Apache-2.0) AND GPL-3.0"));
    assert!(!is_allowed("GPL-3.0"));
}
