//! The macro that describes a service.

/// Describes a service of a [`Manager`](crate::Manager): a trait for the struct that is one, and a proxy for those who call it.
///
/// It looks like a trait, with the name of the proxy after `as`. Methods have `&self` or `&mut self`, arguments that are
/// [messages](crate::process::Message), each with a name, and return an [`Outcome`](crate::process::Outcome); they have no
/// bodies, type parameters or lifetimes. The proxy has the same ones, with `&self` and
/// [`Answer`](crate::manager::service::Answer)s. It is `Clone`, `Send` and `Sync`, goes wherever other handles go, and
/// is [`Proxied`](crate::manager::service::Proxied).
///
/// The [module of services](crate::manager::service) says what becomes of calls.
///
/// # Examples
///
/// ```
/// shmkit::service! {
///     /// What is said to all.
///     pub trait Board as BoardProxy {
///         /// Puts a note up.
///         fn write(&mut self, author: String, note: String);
///         /// All notes.
///         fn read(&self) -> Vec<(String, String)>;
///     }
/// }
///
/// impl Board for Vec<(String, String)> {
///     fn write(&mut self, author: String, note: String) {
///         self.push((author, note));
///     }
///
///     fn read(&self) -> Vec<(String, String)> {
///         self.clone()
///     }
/// }
///
/// // Elsewhere, with the board of a manager.
/// fn greet(board: BoardProxy) -> shmkit::Result<usize> {
///     board.write("ann".into(), "hello".into())?;
///     Ok(board.read()?.len())
/// }
/// ```
#[macro_export]
macro_rules! service {
    (
        $(#[$meta:meta])*
        $vis:vis trait $Trait:ident as $Proxy:ident {$(
            $(#[$method_meta:meta])*
            // What would stand after `mut` never does: a name that says whether there is one.
            fn $method:ident(& $(mut $(@ $never:tt)?)? self $(, $arg:ident: $type:ty)* $(,)?) $(-> $outcome:ty)?;
        )*}
    ) => {
        $(#[$meta])*
        $vis trait $Trait: 'static {$(
            $(#[$method_meta])*
            fn $method(& $(mut $($never)?)? self $(, $arg: $type)*) $(-> $outcome)?;
        )*}

        #[doc = concat!("Stands for a [`", stringify!($Trait), "`] in the server of a manager.")]
        #[derive(Clone, PartialEq, Eq, Hash)]
        $vis struct $Proxy($crate::manager::service::Service);

        #[allow(dead_code, unused_parens, reason = "not all methods need to be called, nor to return anything")]
        impl $Proxy {$(
            $(#[$method_meta])*
            $vis fn $method(&self $(, $arg: $type)*) -> $crate::manager::service::Answer<($($outcome)?)> {
                self.0.call::<Self, _>(stringify!($method), &($(&$arg,)*))
            }
        )*}

        impl $crate::manager::service::Proxied for $Proxy {
            const NAME: &'static str = stringify!($Trait);
            const NUMBER: u64 = $crate::manager::service::number_of_text(concat!($(
                stringify!($method), "(", $(stringify!(mut $($never)?),)? "self", $(",", stringify!($type),)* ")",
                $("->", stringify!($outcome),)? ";",
            )*));

            fn new(service: $crate::manager::service::Service) -> Self {
                Self(service)
            }

            fn service(&self) -> &$crate::manager::service::Service {
                &self.0
            }
        }

        // A name that no type of the description has.
        impl<__S: $Trait> $crate::manager::service::Serves<__S> for $Proxy {
            fn dispatch(
                service: &mut __S,
                method: &str,
                call: $crate::manager::service::Call<'_>,
            ) -> $crate::Result<$crate::manager::service::Sent> {
                match method {
                    $(stringify!($method) => call.run(
                        [$(stringify!(mut $($never)?))?],
                        |($($arg,)*): ($($type,)*)| <__S as $Trait>::$method(service $(, $arg)*),
                    ),)*
                    _ => call.refuse(stringify!($Trait), method),
                }
            }
        }

        impl ::core::fmt::Debug for $Proxy {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                write!(f, concat!("<", stringify!($Proxy), " object {:?}>"), self.0)
            }
        }

        impl $crate::manager::service::serde::Serialize for $Proxy {
            fn serialize<S: $crate::manager::service::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::core::result::Result<S::Ok, S::Error> {
                $crate::manager::service::serde::Serialize::serialize(&self.0, serializer)
            }
        }

        impl<'de> $crate::manager::service::serde::Deserialize<'de> for $Proxy {
            fn deserialize<D: $crate::manager::service::serde::Deserializer<'de>>(
                deserializer: D,
            ) -> ::core::result::Result<Self, D::Error> {
                $crate::manager::service::serde::Deserialize::deserialize(deserializer).map(Self)
            }
        }
    };
}

/// A number made of the text of a description: FNV-1a without the spaces, which compilers are free to place.
#[doc(hidden)]
pub const fn number_of_text(text: &str) -> u64 {
    let bytes = text.as_bytes();
    let (mut number, mut at) = (0xcbf2_9ce4_8422_2325_u64, 0);
    while at < bytes.len() {
        if !bytes[at].is_ascii_whitespace() {
            number = (number ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        }
        at += 1;
    }
    number
}
