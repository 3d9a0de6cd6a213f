//! "Did you mean": the nearest of some names.

/// The candidate that is most like `name`, if one is like it at all.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let name: Vec<char> = name.chars().take(NAME_CHARS_MAX).collect();
    let farthest = (name.len() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&name, candidate), candidate))
        .filter(|(distance, _)| *distance <= farthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, changes and swaps of neighbours that turn one into the other; a change
/// of case or between `-` and `_` costs nothing.
fn distance(name: &[char], candidate: &str) -> usize {
    let other: Vec<char> = candidate.chars().take(NAME_CHARS_MAX).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (row, left) in name.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, right) in other.iter().enumerate() {
            let change = last[column] + usize::from(!alike(*left, *right));
            let mut best = change.min(last[column + 1] + 1).min(line[column] + 1);
            let swapped = row > 0
                && column > 0
                && alike(*left, other[column - 1])
                && alike(name[row - 1], *right);
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            line.push(best);
        }
        before = std::mem::replace(&mut last, line);
    }
    last[other.len()]
}

fn alike(left: char, right: char) -> bool {
    let plain = |it: char| if it == '-' { '_' } else { it.to_ascii_lowercase() };
    plain(left) == plain(right)
}

/// Longer names are compared by their begin: the cost is the product of the lengths.
const NAME_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_are_recognised() {
        let names = ["address", "protocols", "route_config", "name"];
        assert_eq!(nearest("adress", names), Some("address"));
        assert_eq!(nearest("protocol", names), Some("protocols"));
        assert_eq!(nearest("route-Config", names), Some("route_config"));
        assert_eq!(nearest("nmae", names), Some("name"));
        assert_eq!(nearest("timeout", names), None);
        assert_eq!(nearest("", names), None);
    }
}
