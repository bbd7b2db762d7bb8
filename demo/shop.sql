-- A small shop. Everything in it is made up.
CREATE ROLE shop LOGIN PASSWORD 'a real credential, which no agent ever holds';
CREATE DATABASE shop OWNER shop;
\connect shop
SET ROLE shop;

CREATE TABLE people (
  id    int PRIMARY KEY,
  name  text NOT NULL,
  email text NOT NULL,
  ssn   text NOT NULL
);
CREATE TABLE orders (
  id        int PRIMARY KEY,
  person_id int NOT NULL REFERENCES people (id),
  item      text NOT NULL,
  quantity  int NOT NULL
);

INSERT INTO people VALUES
  (1, 'Ada Byron', 'ada@analytical.example', '078-05-1120'),
  (2, 'Grace Murray', 'grace@navy.example', '219-09-9999'),
  (3, 'Barbara Huberman', 'barbara@clu.example', '457-55-5462');
INSERT INTO orders VALUES
  (1, 1, 'punched cards', 400),
  (2, 2, 'a jar for moths', 1),
  (3, 3, 'abstraction', 2);
