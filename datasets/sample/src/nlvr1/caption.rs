//! Captions made from objects: "two yellow triangles and one black square".

use oscar_vision::drawings::Object;

const NUMBERS: &str = "one two three four five six seven eight nine ten eleven twelve thirteen \
                       fourteen fifteen sixteen seventeen eighteen nineteen twenty";

/// Describes `objects` from left to right, those at the same x from the top; neighbours of one
/// kind are counted together, so that order and number both follow from what is seen.
///
/// # Examples
/// ```
/// use oscar_sample::nlvr1::caption::describe;
/// use oscar_vision::drawings::{Color, Object, Shape};
///
/// let square = Object {
///     grey_box: 0, color: Color::Black, shape: Shape::Square, size: 20, x: 60, y: 5,
/// };
/// let first = Object { color: Color::Yellow, x: 3, ..square };
/// let last = Object { x: 70, ..square };
/// let caption = describe(&[last, square, first]);
/// assert_eq!(caption, "one yellow square and two black squares");
/// ```
pub fn describe(objects: &[Object]) -> String {
    parts(objects).join(" and ")
}

/// What [`describe`] joins: neighbours of one kind, counted.
pub(crate) fn parts(objects: &[Object]) -> Vec<String> {
    let mut ordered: Vec<&Object> = objects.iter().collect();
    ordered.sort_by_key(|o| (o.grey_box, o.x, o.y));
    ordered
        .chunk_by(|a, b| (a.color, a.shape) == (b.color, b.shape))
        .map(|run| {
            let number = NUMBERS.split(' ').nth(run.len() - 1).map(String::from);
            let number = number.unwrap_or_else(|| run.len().to_string());
            let plural = if run.len() == 1 { "" } else { "s" };
            format!("{number} {}{plural}", run[0].class())
        })
        .collect()
}
