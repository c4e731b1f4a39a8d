-- A shop of plausible size: customers, orders, order lines, an audit table and a view.
SET client_min_messages = warning;
SELECT setseed(0.5) \g /dev/null
CREATE TABLE customers (
  id serial PRIMARY KEY, name text NOT NULL, email text UNIQUE, city text, joined date, profile jsonb);
CREATE TABLE orders (
  id bigserial PRIMARY KEY, customer_id int NOT NULL, placed_at timestamptz NOT NULL,
  status text NOT NULL, total numeric(10, 2) NOT NULL, note text);
CREATE TABLE order_lines (
  order_id bigint NOT NULL, line int NOT NULL, article int NOT NULL, amount int NOT NULL, price numeric(8, 2),
  PRIMARY KEY (order_id, line));
CREATE TABLE documents (id int PRIMARY KEY, title text, content bytea);
INSERT INTO customers (name, email, city, joined, profile)
SELECT (ARRAY['Ada','Björn','Chloé','Dmitri','Ewa','Farid','Grace','Hiro'])[1 + i % 8] || ' ' ||
       (ARRAY['Lovelace','Ångström','Martin','Ivanov','Nowak','Haddad','Hopper','Tanaka'])[1 + i / 8 % 8],
       'customer' || i || '@example.org',
       (ARRAY['Lisboa','Kraków','Ghent','Oslo','Porto','Zürich'])[1 + i % 6],
       date '2015-01-01' + i % 4000,
       jsonb_build_object('newsletter', i % 3 = 0, 'points', i % 977, 'tags', jsonb_build_array('t' || i % 7))
FROM generate_series(1, :customers) i;
INSERT INTO orders (customer_id, placed_at, status, total, note)
SELECT 1 + (random() * (:customers - 1))::int, timestamptz '2020-01-01 00:00+00' + i * interval '11 minutes',
       (ARRAY['paid','sent','returned','open'])[1 + i % 4], round((random() * 300)::numeric, 2),
       CASE WHEN i % 5 = 0 THEN 'leave at door ' || md5(i::text) END
FROM generate_series(1, :orders) i;
INSERT INTO order_lines
SELECT i, l, 1 + (random() * 5000)::int, 1 + (random() * 4)::int, round((random() * 90)::numeric, 2)
FROM generate_series(1, :orders) i, generate_series(1, 2) l;
INSERT INTO documents SELECT i, 'invoice ' || i, decode(repeat(md5(i::text), 64), 'hex') FROM generate_series(1, 500) i;
CREATE INDEX orders_by_customer ON orders (customer_id);
CREATE VIEW open_orders AS SELECT * FROM orders WHERE status = 'open';
ANALYZE;
