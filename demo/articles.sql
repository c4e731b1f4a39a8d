CREATE TABLE articles (id INTEGER PRIMARY KEY, name TEXT NOT NULL, price REAL, stock INTEGER, picture BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :articles)
INSERT INTO articles
SELECT i, 'article ' || printf('%06d', i) || ' ' || CASE i % 4 WHEN 0 THEN 'blå' WHEN 1 THEN 'rouge' WHEN 2 THEN 'grün' ELSE 'verde' END,
       round(abs(random() % 10000) / 100.0, 2), abs(random() % 500), CASE WHEN i % 20 = 0 THEN randomblob(600) END
FROM n;
CREATE INDEX articles_by_name ON articles (name);
