create table orders (
    id serial primary key,
    product integer not null references products,
    placed_at timestamptz not null default now()
);
insert into products (name, cents) values
    ('teapot', 2450),
    ('kettle', 3900),
    ('biscuit tin', 1275);
