CREATE ROLE shop LOGIN PASSWORD 'the real credential';
CREATE DATABASE shop OWNER shop;
\connect shop
SET ROLE shop;
CREATE TABLE people (id int PRIMARY KEY, name text, email text);
CREATE TABLE orders (id int PRIMARY KEY, quantity int);
INSERT INTO people VALUES (1, 'Ada', 'ada@analytical.example');
INSERT INTO orders VALUES (1, 1), (2, 1);
