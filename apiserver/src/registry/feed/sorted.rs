//! Objects in the order of their places. A copy shares everything and costs nothing; a change copies no more than what a copy shares.

use std::sync::Arc;

/// Objects in one piece. A change copies the pointers of one piece, and those of all pieces, where they are shared.
const PIECE_MAX: usize = 256;

/// What has a place among others.
pub(super) trait Placed {
    fn place(&self) -> &str;
}

type Piece<T> = Vec<Arc<T>>;

/// See the module.
#[derive(Debug)]
pub(super) struct Sorted<T> {
    /// None of them is empty.
    pieces: Arc<Vec<Arc<Piece<T>>>>,
    count: usize,
}

impl<T> Clone for Sorted<T> {
    fn clone(&self) -> Self {
        Self { pieces: Arc::clone(&self.pieces), count: self.count }
    }
}

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self { pieces: Arc::default(), count: 0 }
    }
}

impl<T: Placed> Sorted<T> {
    /// Of objects that stand in order.
    pub(super) fn of(objects: Vec<Arc<T>>) -> Self {
        let count = objects.len();
        let (mut pieces, mut objects) = (Vec::with_capacity(count.div_ceil(PIECE_MAX)), objects.into_iter());
        loop {
            let piece: Piece<T> = objects.by_ref().take(PIECE_MAX).collect();
            if piece.is_empty() {
                return Self { pieces: Arc::new(pieces), count };
            }
            pieces.push(Arc::new(piece));
        }
    }

    /// The first piece that may hold `place`.
    fn piece(&self, place: &str) -> usize {
        self.pieces.partition_point(|piece| piece.last().is_some_and(|last| last.place() < place))
    }

    /// Piece and position of the first object that does not stand before `place`.
    fn position(&self, place: &str) -> (usize, usize) {
        let piece = self.piece(place);
        let before = |piece: &Arc<Piece<T>>| piece.partition_point(|object| object.place() < place);
        (piece, self.pieces.get(piece).map_or(0, before))
    }

    pub(super) fn get(&self, place: &str) -> Option<&Arc<T>> {
        let (piece, at) = self.position(place);
        self.pieces.get(piece)?.get(at).filter(|object| object.place() == place)
    }

    /// Puts an object at its place; what stood there before.
    pub(super) fn put(&mut self, object: Arc<T>) -> Option<Arc<T>> {
        let at = self.piece(object.place());
        let pieces = Arc::make_mut(&mut self.pieces);
        if pieces.is_empty() {
            pieces.push(Arc::default());
        }
        let at = at.min(pieces.len() - 1);
        let piece = Arc::make_mut(&mut pieces[at]);
        match piece.binary_search_by(|other| other.place().cmp(object.place())) {
            Ok(found) => Some(std::mem::replace(&mut piece[found], object)),
            Err(between) => {
                piece.insert(between, object);
                self.count += 1;
                if piece.len() > PIECE_MAX {
                    let rest = piece.split_off(PIECE_MAX / 2);
                    pieces.insert(at + 1, Arc::new(rest));
                }
                None
            }
        }
    }

    /// Takes an object out.
    pub(super) fn remove(&mut self, place: &str) -> Option<Arc<T>> {
        self.get(place)?;
        let (at, position) = self.position(place);
        let pieces = Arc::make_mut(&mut self.pieces);
        let removed = Arc::make_mut(&mut pieces[at]).remove(position);
        self.count -= 1;
        let beside = pieces.get(at + 1).map_or(PIECE_MAX, |piece| piece.len());
        if pieces[at].is_empty() {
            pieces.remove(at);
        } else if pieces[at].len() + beside <= PIECE_MAX / 2 {
            let next = pieces.remove(at + 1);
            Arc::make_mut(&mut pieces[at]).extend(next.iter().cloned());
        }
        Some(removed)
    }

    /// How many stand before `place`.
    fn rank(&self, place: &str) -> usize {
        let (piece, at) = self.position(place);
        self.pieces[..piece].iter().map(|piece| piece.len()).sum::<usize>() + at
    }

    /// How many stand from `from` on and before `end`; `None`: to the last.
    pub(super) fn count(&self, from: &str, end: Option<&str>) -> usize {
        end.map_or(self.count, |end| self.rank(end)).saturating_sub(self.rank(from))
    }

    /// Those from `from` on.
    pub(super) fn from(&self, from: &str) -> impl Iterator<Item = &Arc<T>> {
        let (piece, at) = self.position(from);
        self.pieces[piece..].iter().flat_map(|piece| piece.iter()).skip(at)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<T>> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq)]
    struct At(String, usize);

    impl Placed for At {
        fn place(&self) -> &str {
            &self.0
        }
    }

    fn check(sorted: &Sorted<At>, model: &BTreeMap<String, usize>, from: &str, end: &str) {
        let read = |object: &Arc<At>| (object.0.clone(), object.1);
        let expected: Vec<_> = model.iter().map(|(place, number)| (place.clone(), *number)).collect();
        assert_eq!(sorted.all().map(read).collect::<Vec<_>>(), expected);
        let expected: Vec<_> = model.range(from.to_owned()..).map(|(place, number)| (place.clone(), *number)).collect();
        assert_eq!(sorted.from(from).map(read).collect::<Vec<_>>(), expected);
        assert_eq!(sorted.count(from, None), expected.len());
        let before = expected.iter().filter(|(place, _)| place.as_str() < end).count();
        assert_eq!(sorted.count(from, Some(end)), before);
        assert_eq!(sorted.get(from).map(read), model.get(from).map(|number| (from.to_owned(), *number)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn it_is_a_map_whose_copies_stay(
            made in 0..900_usize,
            writes in prop::collection::vec((0..2000_usize, 0..3_usize), 0..900),
            (from, end) in (0..2000_usize, 0..2000_usize),
        ) {
            let name = |number: usize| format!("a/p-{number:04}");
            let mut model: BTreeMap<String, usize> = (0..made).map(|number| (name(number * 2), number)).collect();
            let objects = model.iter().map(|(place, number)| Arc::new(At(place.clone(), *number))).collect();
            let mut sorted = Sorted::of(objects);
            let mut copies = Vec::new();
            for (turn, (number, what)) in writes.into_iter().enumerate() {
                if turn % 100 == 50 {
                    copies.push((sorted.clone(), model.clone()));
                }
                let place = name(number);
                if what == 0 {
                    let put = sorted.put(Arc::new(At(place.clone(), turn)));
                    assert_eq!(put.map(|old| old.1), model.insert(place, turn));
                } else {
                    assert_eq!(sorted.remove(&place).map(|old| old.1), model.remove(&place));
                }
            }
            copies.push((sorted, model));
            for (sorted, model) in &copies {
                check(sorted, model, &name(from), &name(end));
            }
        }
    }
}
