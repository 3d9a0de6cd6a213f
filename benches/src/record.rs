//! Puts generated text into a document that people write.

use std::io;
use std::path::Path;

/// Replaces what stands between `<!-- NAME: begin -->` and `<!-- NAME: end -->` in a file.
///
/// # Errors
/// The file cannot be read or written, or the marks are not there in this order.
pub fn replace(file: &Path, name: &str, text: &str) -> io::Result<()> {
    let document = std::fs::read_to_string(file)?;
    let document = replaced(&document, name, text).ok_or_else(|| {
        let file = file.display();
        io::Error::other(format!("{file}: the marks of `{name}` are not there"))
    })?;
    std::fs::write(file, document)
}

fn replaced(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: begin -->"), format!("<!-- {name}: end -->"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n\n{}\n\n{end}{after}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_between_the_marks_is_replaced() {
        let document = "a\n<!-- x: begin -->\nold\n<!-- x: end -->\nb\n";
        let once = replaced(document, "x", "new\n").unwrap();
        assert_eq!(once, "a\n<!-- x: begin -->\n\nnew\n\n<!-- x: end -->\nb\n");
        assert_eq!(replaced(&once, "x", "new").unwrap(), once);
        assert_eq!(replaced(document, "y", "new"), None);
    }
}
