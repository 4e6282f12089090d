//! `#[derive(Event)]`: makes a `#[repr(C)]` struct, or an enum of such structs, a message type of a topic.
//!
//! On a struct the macro proves at compile time that the layout has no padding, so that every byte of it is
//! written by the publisher and every bit pattern read from a journal is a valid value. On an enum it collects
//! the kinds that one topic carries and generates `NameRef<'a>`, the borrowed form that subscribers receive.
//! The manual is the documentation of `bus::event`.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Data, DeriveInput, Error, Fields, LitInt, LitStr, Result, spanned::Spanned};

/// Derives `bus::event::Event` on a struct, `bus::event::Message` on a struct or an enum of structs.
///
/// Attribute on structs: `#[event(kind = 7, name = "quote")]`. `kind` (1 to 65,279, default 1) must differ from
/// the other kinds of the topic; `name` defaults to the struct's name in snake case.
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(parameter) = input.generics.params.first() {
        return Err(Error::new(parameter.span(), "an event has no generic parameters: its layout is fixed"));
    }
    match &input.data {
        Data::Struct(data) => expand_struct(input, &data.fields),
        Data::Enum(data) => expand_enum(input, data),
        Data::Union(_) => Err(Error::new(input.span(), "an event is a struct or an enum of structs")),
    }
}

/// What stands in `#[event(…)]`.
struct Attributes {
    kind: u16,
    name: String,
}

fn attributes(input: &DeriveInput) -> Result<Attributes> {
    let mut found = Attributes { kind: 1, name: snake_case(&input.ident.to_string()) };
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("event")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("kind") {
                let literal: LitInt = meta.value()?.parse()?;
                found.kind = literal.base10_parse()?;
                if !(1..=65_279).contains(&found.kind) {
                    return Err(Error::new(literal.span(), "a kind is a number from 1 to 65279"));
                }
                Ok(())
            } else if meta.path.is_ident("name") {
                let literal: LitStr = meta.value()?.parse()?;
                found.name = literal.value();
                if !(1..=128).contains(&found.name.len()) {
                    return Err(Error::new(literal.span(), "a name has 1 to 128 bytes"));
                }
                Ok(())
            } else {
                Err(meta.error("known keys are `kind` and `name`"))
            }
        })?;
    }
    Ok(found)
}

fn require_repr_c(input: &DeriveInput) -> Result<()> {
    let mut is_c = false;
    for attribute in input.attrs.iter().filter(|a| a.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta| {
            is_c |= meta.path.is_ident("C");
            if meta.path.is_ident("packed") || meta.path.is_ident("align") {
                return Err(meta.error("an event is plain #[repr(C)]"));
            }
            Ok(())
        })?;
    }
    if is_c {
        Ok(())
    } else {
        Err(Error::new(input.ident.span(), "an event needs #[repr(C)]: its layout is a format"))
    }
}

fn expand_struct(input: &DeriveInput, fields: &Fields) -> Result<TokenStream> {
    require_repr_c(input)?;
    let Fields::Named(named) = fields else {
        return Err(Error::new(
            input.ident.span(),
            "an event has named fields: any program prints them by name",
        ));
    };
    let Attributes { kind, name } = attributes(input)?;
    let ident = &input.ident;
    let types: Vec<_> = named.named.iter().map(|field| &field.ty).collect();
    let idents: Vec<_> = named.named.iter().map(|field| field.ident.as_ref()).collect();
    let names = named.named.iter().map(|field| field.ident.as_ref().map(ToString::to_string));
    Ok(quote! {
        const _: () = assert!(
            ::core::mem::size_of::<#ident>() == 0 #(+ ::core::mem::size_of::<#types>())*,
            "an event has no implicit padding: add explicit `_pad: [u8; N]` fields"
        );
        const _: () = assert!(::core::mem::align_of::<#ident>() <= 16, "frames are 16-aligned");
        // SAFETY: repr(C); every field is `Field`, hence valid for any bytes and free of padding and of interior
        // mutability; the assertion above proves that nothing lies between the fields.
        unsafe impl ::bus::event::Event for #ident {
            const INFO: ::bus::event::KindInfo = ::bus::event::KindInfo {
                kind: #kind,
                name: #name,
                size: ::core::mem::size_of::<#ident>(),
                fields: &[#(::bus::event::FieldInfo {
                    name: #names,
                    kind: <#types as ::bus::event::Field>::KIND,
                    offset: ::core::mem::offset_of!(#ident, #idents),
                    size: ::core::mem::size_of::<#types>(),
                }),*],
            };
        }
        impl ::bus::event::Message for #ident {
            type Ref<'a> = &'a #ident;
            const KINDS: &'static [::bus::event::KindInfo] = &[<#ident as ::bus::event::Event>::INFO];
            #[inline]
            fn decode(kind: u16, body: &[u8]) -> ::core::option::Option<&#ident> {
                if kind == #kind { ::bus::event::from_bytes(body) } else { ::core::option::Option::None }
            }
        }
        impl ::bus::event::PartOf<#ident> for #ident {}
    })
}

fn expand_enum(input: &DeriveInput, data: &syn::DataEnum) -> Result<TokenStream> {
    let ident = &input.ident;
    let visibility = &input.vis;
    let reference = format_ident!("{ident}Ref");
    let mut variants = Vec::new();
    let mut types = Vec::new();
    for variant in &data.variants {
        match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                variants.push(&variant.ident);
                types.push(&fields.unnamed[0].ty);
            }
            _ => return Err(Error::new(variant.span(), "each variant holds exactly one event struct")),
        }
    }
    if variants.is_empty() {
        return Err(Error::new(ident.span(), "a topic has at least one kind of message"));
    }
    let doc = format!("A message of [`{ident}`] as a subscriber receives it: a reference into the journal.");
    Ok(quote! {
        #[doc = #doc]
        #[derive(Clone, Copy)]
        #[allow(missing_docs)]
        #visibility enum #reference<'a> {
            #(#variants(&'a #types)),*
        }
        impl<'a> ::core::fmt::Debug for #reference<'a>
        where
            #(&'a #types: ::core::fmt::Debug),*
        {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self {
                    #(Self::#variants(event) =>
                        f.debug_tuple(::core::stringify!(#variants)).field(event).finish(),)*
                }
            }
        }
        impl ::bus::event::Message for #ident {
            type Ref<'a> = #reference<'a>;
            const KINDS: &'static [::bus::event::KindInfo] = &[#(<#types as ::bus::event::Event>::INFO),*];
            #[inline]
            fn decode(kind: u16, body: &[u8]) -> ::core::option::Option<#reference<'_>> {
                match kind {
                    #(<#types as ::bus::event::Event>::KIND => ::bus::event::from_bytes(body).map(#reference::#variants),)*
                    _ => ::core::option::Option::None,
                }
            }
        }
        // The variants say which kinds there are; nobody need construct them.
        const _: (fn(#ident) -> usize, #(fn(#types) -> #ident,)*) = (
            |message| match message { #(#ident::#variants(event) => ::bus::event::as_bytes(&event).len(),)* },
            #(#ident::#variants,)*
        );
        const _: () = ::bus::event::assert_distinct(<#ident as ::bus::event::Message>::KINDS);
        #(impl ::bus::event::PartOf<#ident> for #types {})*
    })
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (i, c) in name.chars().enumerate() {
        if c.is_uppercase() && i > 0 {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
