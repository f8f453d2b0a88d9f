//! Numbers, which travel as they lie in memory: many at a time, for what one costs else.

use std::any::{Any, TypeId};

macro_rules! plain_types {
    ($($t:ty)*) => {
        /// Whether values of this type travel so.
        pub(super) fn is_plain<T: 'static>() -> bool {
            let this = TypeId::of::<T>();
            this == TypeId::of::<()>() $(|| this == TypeId::of::<$t>())*
        }

        /// Appends values as bytes.
        #[expect(clippy::ptr_arg, reason = "only a type with a size can be looked at")]
        pub(super) fn store<T: 'static>(values: &Vec<T>, bytes: &mut Vec<u8>) {
            let values: &dyn Any = values;
            $(if let Some(values) = values.downcast_ref::<Vec<$t>>() {
                bytes.extend_from_slice(bytemuck::cast_slice(values));
            })*
        }

        /// Appends one value as bytes.
        #[inline(always)]
        pub(super) fn push<T: 'static>(value: &T, bytes: &mut Vec<u8>) {
            let value: &dyn Any = value;
            // The type is known when this is compiled: one of these is left.
            $(if let Some(value) = value.downcast_ref::<$t>() {
                bytes.extend_from_slice(bytemuck::bytes_of(value));
            })*
        }

        /// The value number `at` of those that were bytes; `None` when there are not so many, or they are not plain.
        #[inline(always)]
        pub(super) fn read<T: 'static>(bytes: &[u8], at: usize) -> Option<T> {
            let mut value: Option<T> = None;
            let place: &mut dyn Any = &mut value;
            if let Some(place) = place.downcast_mut::<Option<()>>() {
                *place = Some(());
            }
            $(if let Some(place) = place.downcast_mut::<Option<$t>>() {
                const SIZE: usize = size_of::<$t>();
                *place = bytes.get(at * SIZE..(at + 1) * SIZE).map(bytemuck::pod_read_unaligned);
            })*
            value
        }

        /// Appends `count` values that were bytes, or as many as there are.
        #[allow(clippy::ptr_arg, reason = "a vector grows")]
        pub(super) fn load<T: 'static>(values: &mut Vec<T>, bytes: &[u8], count: usize) {
            let values: &mut dyn Any = values;
            if let Some(values) = values.downcast_mut::<Vec<()>>() {
                values.resize(values.len() + count, ());
            }
            $(if let Some(values) = values.downcast_mut::<Vec<$t>>() {
                let bytes = bytes.chunks_exact(size_of::<$t>()).take(count);
                values.extend(bytes.map(bytemuck::pod_read_unaligned::<$t>));
            })*
        }
    };
}

plain_types! { u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64 }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert!(is_plain::<u64>() && is_plain::<()>() && !is_plain::<bool>() && !is_plain::<(u64,)>());
        let mut bytes: Vec<u8> = vec![7];
        store(&vec![1.5_f64, f64::NAN, -0.0], &mut bytes);
        let mut values = vec![0.0];
        load(&mut values, &bytes[1..], 2);
        assert_eq!((values.len(), values[1]), (3, 1.5));
        let mut one_by_one: Vec<u8> = vec![7];
        values[1..].iter().chain([&-0.0]).for_each(|value| push(value, &mut one_by_one));
        assert_eq!(one_by_one[..9], bytes[..9]);
        assert_eq!((read(&bytes[1..], 2), read::<f64>(&bytes[1..], 3)), (Some(-0.0), None));
        let mut units = Vec::<()>::new();
        load(&mut units, &[], 3);
        assert_eq!(units, [(); 3]);
    }
}
